"""``python -m simsiam_retrieval.probe RUN_OR_ENCODER --train DIR --test DIR``."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from .core import cli
from .core.errors import UserError

EXAMPLES = """examples:
  probe --train ./train --test ./test               the encoder that is shipped
  probe runs/mine --train ./train --test ./test     a run; the report is kept in runs/mine/eval
  probe --table runs                                all reports so far, as one table"""


@dataclass(frozen=True)
class Arguments:
    """Measure an encoder's features on two labelled folders, beside raw pixels and random weights.

    A labelled folder has one subfolder of images per class. The encoder is not trained further.
    """

    encoder: tyro.conf.Positional[
        Annotated[str | None, tyro.conf.arg(metavar="[RUN_OR_ENCODER]", help_behavior_hint="")]
    ] = None
    """Encoder: a run folder, an .onnx file or hf://OWNER/NAME. Default: the shipped one."""
    train: Path | None = None
    """Labelled folder to learn from."""
    test: Path | None = None
    """Labelled folder to measure on."""
    labels: Path | None = None
    """CSV file with the columns path and label. Default: subfolders are classes."""
    against: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Compare with this encoder, too; may be repeated."""
    knn_k: int = 200
    """Number of neighbours that vote; 20 is measured in any case."""
    shots: Annotated[str, tyro.conf.arg(metavar="N,N,…", help_behavior_hint="")] = ""
    """Also measure with few labels: images a class, such as 1,5,10,100."""
    views: int = 0
    """Also measure alignment and LiDAR, over random views of N test images."""
    duplicates: int = 0
    """Also measure near-duplicate detection, over altered copies of N test images."""
    linear_paper: bool = False
    """Also run the paper's linear evaluation (LARS, random crops). Slow: it embeds every image in every epoch."""
    epochs: int = 90
    """Epochs of --linear-paper."""
    seed: int = 0
    """Seed of held-out images, draws, views and copies."""
    cache: bool = True
    """Store features in the data directory and use stored ones."""
    out: Path | None = None
    """Also write the report to this JSON file. The report of a run is always stored in RUN/eval/."""
    json: bool = False
    """Print JSON instead of tables."""
    table: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE …", help_behavior_hint="")] = ()
    """Measure nothing; print the tables of these reports, or of folders or runs with reports."""
    device: str | None = None
    """Device of the encoder: auto, cpu, cuda or tensorrt. A GPU that is asked for and not used is an error.
    Default: auto."""
    workers: int | None = None
    """Number of worker processes. Default: one a core."""


def main() -> None:
    """Run the command.

    Raises:
        UserError: An option or an input cannot work.
    """
    arguments = cli.parse(Arguments, "probe", examples=EXAMPLES)
    from .evaluation.probe_table import markdown

    if arguments.table:
        from .evaluation.probe_reports import load_reports

        if arguments.train or arguments.test or arguments.encoder:
            raise UserError("--table prints stored reports; leave out the encoder, --train and --test")
        print(markdown(load_reports(list(arguments.table))))
        return
    if arguments.train is None or arguments.test is None:
        raise UserError("give two labelled folders: --train DIR --test DIR (or --table FILE… for reports)")
    from .evaluation.labelled import common_classes, labelled_files
    from .evaluation.probe_options import Options

    options = Options(
        k=arguments.knn_k,
        shots=parse_shots(arguments.shots),
        views=arguments.views,
        duplicates=arguments.duplicates,
        paper=arguments.linear_paper,
        epochs=arguments.epochs,
        seed=arguments.seed,
    )
    options.check()
    if arguments.out is not None and not arguments.out.absolute().parent.is_dir():
        raise UserError(f"--out {arguments.out}: its folder does not exist")
    # the test folder first: it is small, so a wrong name is reported before the long listing of the training folder
    test = labelled_files(arguments.test, arguments.labels)
    train = labelled_files(arguments.train, arguments.labels)
    common_classes(train, test)
    # imported here, because torch takes seconds and --help must be fast
    from .core.atomic_files import write_json
    from .evaluation.probe_reports import save_report
    from .evaluation.run_probe import run_probe
    from .evaluation.stored_predictions import save_predictions

    content, predictions = run_probe(
        arguments.encoder,
        train,
        test,
        against=arguments.against,
        options=options,
        cached=arguments.cache,
        workers=arguments.workers,
        device=arguments.device,
    )
    if arguments.encoder is not None and Path(arguments.encoder).expanduser().is_dir():
        kept = save_report(Path(arguments.encoder).expanduser(), content)
        save_predictions(kept, predictions)
        cli.remark(f"report: {kept}")
    if arguments.out is not None:
        write_json(arguments.out, content)
        save_predictions(arguments.out, predictions)
    print(json.dumps(content, indent=2) if arguments.json else markdown([content]))


def parse_shots(text: str) -> tuple[int, ...]:
    """Parse ``--shots``.

    Args:
        text: For example ``1,5,10``.

    Returns:
        The numbers, sorted, each once.

    Raises:
        UserError: The text has another form.
    """
    try:
        numbers = sorted({int(part) for part in text.split(",")} if text.strip() else ())
    except ValueError:
        raise UserError(f"--shots {text}: give whole numbers with commas between them, such as 1,5,10,100") from None
    if numbers and numbers[0] < 1:
        raise UserError(f"--shots {text}: give 1 or more")
    return tuple(numbers)


if __name__ == "__main__":
    cli.run(main)
