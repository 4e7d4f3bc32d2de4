"""``python -m simsiam_retrieval.reproduce TABLE --data DIR``."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from .core import cli
from .core.errors import UserError

if TYPE_CHECKING:
    from .reproduction.plan_runs import Data, Job
    from .reproduction.scales import Protocol, Scale
    from .reproduction.table_rows import Table

SIDES = ("val", "test")  # possible names of DIR's second folder


EXAMPLES = """examples:
  reproduce --list                                       which tables there are
  reproduce figure-2 --scale smoke                       a few steps of each row
  reproduce figure-2 --data ./imagenette                 one table; again: goes on"""


@dataclass(frozen=True)
class Arguments:
    """Run the rows of the SimSiam paper's tables and print ours beside the paper's.

    Each row is an ordinary run folder. Run again, the command skips finished rows and continues the others.
    """

    tables: tyro.conf.Positional[tuple[str, ...]] = ()
    """Names of tables (--list prints them), or all."""
    list: bool = False
    """Print tables, rows and scales, and run nothing."""
    data: Path | None = None
    """Folder with train/ and val/ (or test/), one subfolder of images a class."""
    train: Path | None = None
    """Labelled folder to train on, in place of --data; labels are for measuring only."""
    test: Path | None = None
    """Labelled folder to measure on, in place of --data."""
    scale: Literal["smoke", "cifar", "imagenette", "imagenet"] = "imagenette"
    """Base settings of all rows; smoke needs no data."""
    out: Path | None = None
    """Folder of the runs and results. Default: runs/reproduce-SCALE."""
    seeds: int = 1
    """Runs of each row, with seeds 0, 1, ..."""
    rows: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Run only this row; may be repeated."""
    epochs: int | None = None
    """Epochs of every row. Default: the scale's."""
    image_size: int | None = None
    """Side of the views, in pixels. Default: the scale's."""
    batch_size: int | None = None
    """Images a step; rows about batch size keep theirs. Default: the scale's."""
    linear: Literal["auto", "quick", "paper", "off"] = "auto"
    """Linear classifier: quick (a grid on centre crops), paper (its protocol) or off; auto is the scale's."""
    weights: Literal["auto", "keep", "delete"] = "auto"
    """Keep or delete a run's checkpoint after measuring; auto keeps it, except at the smoke scale."""
    show: bool = False
    """Print the stored results, and run nothing."""
    gpus_per_run: int = 1
    """GPUs that train one row together; with more GPUs, several rows run at once."""
    device: str = "auto"
    """Device: auto, cpu, cuda or cuda:N."""
    workers: int | None = None
    """Number of processes that decode images. Default: one a core."""
    cache: Path | None = None
    """Folder of decoded images, shared by all rows. Default: OUT/cache."""


def main() -> int:
    """Run the command.

    Returns:
        The exit code.
    """
    arguments = cli.parse(Arguments, "reproduce", examples=EXAMPLES)
    from .reproduction.all_tables import check_rows, named_tables
    from .reproduction.scales import SCALES

    if arguments.list:
        _list()
        return cli.DONE
    tables = named_tables(arguments.tables)
    check_rows(tables, arguments.rows)
    scale = SCALES[arguments.scale]
    out = arguments.out or Path("runs") / f"reproduce-{scale.name}"
    if arguments.show:
        _print([out / f"{table.name}.json" for table in tables])
        return cli.DONE
    return _run(arguments, tables, scale, out)


def _run(arguments: Arguments, tables: "Sequence[Table]", scale: "Scale", out: Path) -> int:
    from .reproduction.plan_runs import finished, plan, too_large

    given = _given(arguments)
    protocol = _protocol(arguments, scale)
    if not 1 <= arguments.seeds <= 100:
        raise UserError(f"--seeds {arguments.seeds} is out of range; give 1 to 100")
    jobs = plan(out, scale, tables, arguments.rows, arguments.seeds, given)
    data = _data(arguments, scale, out)
    large = too_large(jobs, len(data.train.files))
    for job in large:
        cli.remark(
            f"left out: {'; '.join(job.titles)}: batches of {job.config.batch_size} are more than half of the "
            f"{len(data.train.files)} training images"
        )
    jobs = [job for job in jobs if job not in large]
    if not jobs:
        raise UserError("no row can be run; give more images")
    # report all mistakes before the first row, which may take days
    done = [job for job in jobs if finished(job, protocol, data.digest) is not None]
    if done:
        cli.remark(f"{len(done)} of {len(jobs)} runs are there already")
    out.mkdir(parents=True, exist_ok=True)

    def save() -> list[dict[str, Any]]:
        return _save(tables, out, scale, given, protocol, data)

    with _alone(out):
        save()  # the app shows rows from their first step
        completed = _work(arguments, jobs, done, out, scale, protocol, data, save)
        _draw(save(), out)
    _print([out / f"{table.name}.json" for table in tables])
    if not completed:
        cli.remark("stopped; run the same command to continue")
        return cli.CTRL_C
    cli.remark(f"results in {out}: {', '.join(table.name for table in tables)} as .json, .md and .png")
    return cli.DONE


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Hold ``out``'s lock; raises ``UserError`` when another process runs rows there."""
    from filelock import FileLock, Timeout

    lock = FileLock(out / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"{out}: another process is running rows in it; wait, or choose another --out") from None
    try:
        yield
    finally:
        lock.release()


def _work(
    arguments: Arguments,
    jobs: "Sequence[Job]",
    done: "Sequence[Job]",
    out: Path,
    scale: "Scale",
    protocol: "Protocol",
    data: "Data",
    on_measured: Callable[[], object],
) -> bool:
    """Run what is missing, and the network with random weights; returns whether nobody asked to stop."""
    from .reproduction.stored_measurement import BASELINE

    todo = [job for job in jobs if job not in done]
    if not todo and (out / BASELINE).exists():
        return True
    # imported here, because torch takes seconds and --help must be fast
    from .reproduction.run_jobs import Place, measure_baseline, run_all

    keep = scale.name != "smoke" if arguments.weights == "auto" else arguments.weights == "keep"
    place = Place(arguments.cache or out / "cache", arguments.device, arguments.workers, keep)
    if not run_all(todo, data, protocol, place, gpus_per_run=arguments.gpus_per_run, on_measured=on_measured):
        return False
    measure_baseline(out, jobs[0].config, data, protocol, place)
    return True


def _given(arguments: Arguments) -> dict[str, Any]:
    """What the command line sets for every row."""
    names = ("epochs", "image_size", "batch_size")
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    return given | ({"store_size": 0} if "image_size" in given else {})


def _protocol(arguments: Arguments, scale: "Scale") -> "Protocol":
    from dataclasses import replace

    return scale.protocol if arguments.linear == "auto" else replace(scale.protocol, linear=arguments.linear)


def _data(arguments: Arguments, scale: "Scale", out: Path) -> "Data":
    from .evaluation.labelled import common_classes, labelled_files
    from .reproduction.plan_runs import Data

    train, test = arguments.train, arguments.test
    if (train is None) != (test is None):
        raise UserError("--train and --test go together; or give --data DIR, with train/ and val/ in it")
    if train is not None and arguments.data is not None:
        raise UserError("give --data, or --train and --test, not both")
    if arguments.data is not None:
        train, test = _sides(arguments.data)
    elif train is None:
        if scale.name != "smoke":
            raise UserError(f"--scale {scale.name} needs images: --data DIR; --scale smoke needs none")
        from .reproduction.smoke_data import smoke_photos

        train, test = smoke_photos(out / "photos")
    assert train is not None and test is not None
    # the test folder first: it is small, so a wrong name is reported before the long listing of the training folder
    second = labelled_files(test)
    first = labelled_files(train)
    common_classes(first, second)
    for remark in (*first.remarks, *second.remarks):
        cli.remark(remark)
    return Data(first, second)


def _sides(data: Path) -> tuple[Path, Path]:
    found = [data / name for name in SIDES if (data / name).is_dir()]
    if not (data / "train").is_dir() or not found:
        raise UserError(
            f"--data {data}: it needs train/ and val/ (or test/), one subfolder of images per class in each"
        )
    return data / "train", found[0]


def _save(
    tables: "Sequence[Table]", out: Path, scale: "Scale", given: dict, protocol: "Protocol", data: "Data"
) -> list[dict[str, Any]]:
    """Gather the results of ``tables`` and keep them as JSON."""
    import json

    from .reproduction.stored_measurement import BASELINE
    from .reproduction.table_results import gather, save

    file = out / BASELINE
    baseline = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
    if baseline is not None and baseline["digest"] != data.digest:
        baseline = None
    contents = [gather(table, out, scale, given, protocol, data, baseline) for table in tables]
    for content in contents:
        save(out, content)
    return contents


def _draw(contents: Sequence[dict[str, Any]], out: Path) -> None:
    """Keep tables as Markdown, and their curves as PNG."""
    from .core.atomic_files import replacing
    from .reproduction.print_table import markdown
    from .reproduction.table_curves import draw_rows

    for content in contents:
        with replacing(out / f"{content['table']}.md") as temporary:
            temporary.write_text(markdown(content) + "\n", encoding="utf-8")
        if any(row["runs"] for row in content["rows"]):
            with replacing(out / f"{content['table']}.png") as temporary:
                draw_rows(content, out, temporary)


def _print(files: Sequence[Path]) -> None:
    import sys

    from .reproduction.print_table import markdown, terminal
    from .reproduction.table_results import load

    contents = [load(file) for file in files]
    if sys.stdout.isatty():
        terminal(contents)
    else:
        print("\n\n".join(map(markdown, contents)))


def _list() -> None:
    from .reproduction.all_tables import TABLES
    from .reproduction.scales import SCALES

    width = max(map(len, TABLES))
    for table in TABLES.values():
        section = table.section if " " in table.section else f"section {table.section}"
        print(f"{table.name:{width}}  {table.title} ({section}). {table.asks}")
        print(f"{'':{width}}  rows: {', '.join(row.key for row in table.rows)}")
    print()
    for scale in SCALES.values():
        print(f"--scale {scale.name:{width - 8}}  {scale.about}")


if __name__ == "__main__":
    cli.run(main)
