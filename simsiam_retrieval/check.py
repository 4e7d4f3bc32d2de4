"""``python -m simsiam_retrieval.check``."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from .core import cli
from .core.errors import UserError
from .core.text import printable

if TYPE_CHECKING:
    from .collection import Collection
    from .collection.check.find_problems import Report
    from .collection.check.problems import Problem

SHOWN = 5  # of each kind in the table


EXAMPLES = """examples:
  check                              what is wrong with the images, the worst of each kind
  check --html report.html           the same with pictures, as a page for the browser
  check --kind blurred --csv         all blurred images
  check --splits train=./train test=./test
                                     test images that are copies of training images
  check --labels folders             images that lie in the wrong folder, too
  check --kind dark --fine a.jpg     this image is fine; it is not named again"""


@dataclass(frozen=True)
class Arguments:
    """Find images of a collection that are blurred, dark, plain, odd, damaged, near-duplicates or outliers.

    An image is listed if one of its values is far beyond the quartiles of the collection. No image file is read or
    changed.
    """

    folders: tyro.conf.Positional[Annotated[tuple[Path, ...], tyro.conf.arg(metavar="[FOLDER ...]")]] = ()
    """List only images at or below one of these indexed folders. Default: all images."""
    collection: Path | None = None
    """Name or folder of the collection. Default: the one used last."""
    kind: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """List only this kind, such as blurred or outlier; may be repeated."""
    fence: float = 1.5
    """Interquartile ranges beyond a quartile from which an image is listed; a lower value lists more images."""
    threshold: float | None = None
    """Lowest cosine similarity of near-duplicates. Default: the one calibrated for the shipped encoder."""
    labels: str | None = None
    """Also list probably wrong labels: of folders (by name), app, or a CSV file with path and label."""
    splits: tuple[str, ...] = ()
    """Also list images of one split that are in an earlier one: train=FOLDER test=FOLDER."""
    measure: bool = False
    """First measure images that an older version indexed, from their thumbnails."""
    fine: tyro.conf.UseAppendAction[tuple[Path, ...]] = ()
    """Mark this image as fine, for the kinds of --kind or for all; may be repeated."""
    not_fine: tyro.conf.UseAppendAction[tuple[Path, ...]] = ()
    """Remove that mark; may be repeated."""
    all: bool = False
    """List images marked as fine, too, and all images of each kind in the table."""
    json: bool = False
    """Print JSON."""
    csv: bool = False
    """Print CSV, one line a problem."""
    html: Path | None = None
    """Write a page with pictures into this file; it opens without a server."""


def main() -> None:
    """Run the command with ``sys.argv``."""
    arguments = cli.parse(Arguments, "check", examples=EXAMPLES)
    if arguments.json and arguments.csv:
        raise UserError("--json or --csv: choose one")
    # imported here so that --help answers at once
    from .collection import Collection
    from .collection.check.asked import check_asked
    from .collection.check.find_problems import find_problems
    from .collection.check.leaks import Split, check_splits
    from .collection.check.problems import KINDS
    from .core.known_collections import find_collection
    from .core.progress import bar

    check_asked(
        arguments.kind,
        labels=arguments.labels is not None,
        splits=bool(arguments.splits),
        threshold=arguments.threshold is not None,
    )
    splits = [Split.parse(text) for text in arguments.splits]
    if splits:
        check_splits(splits)
    folder = find_collection(arguments.collection)
    with Collection.open(folder) as collection:
        cli.remark_collection(arguments.collection, folder)
        if arguments.measure:
            _measure(collection)
        labels = _labels(collection, arguments.labels)
        with bar("comparing", 0) as shown:

            def on_progress(rows: int, total: int) -> None:
                shown.of(total)
                shown.advance(rows)

            report = find_problems(
                collection,
                arguments.kind or tuple(KINDS),
                fence=arguments.fence,
                threshold=arguments.threshold,
                labels=labels,
                splits=splits,
                on_progress=on_progress,
            )
        if arguments.fine or arguments.not_fine:
            noted = _note_fine(collection, report, arguments)
            if not (arguments.json or arguments.csv or arguments.html):
                print(noted)
                return
            cli.remark(noted)
        _narrow(collection, report, arguments)
        if arguments.html is not None:
            _write_page(collection, report, arguments.html)
    _remark(report)
    if arguments.json:
        from .collection.check.report import as_json

        print(as_json(report))
    elif arguments.csv:
        _print_csv(report)
    elif arguments.html is None:
        _print_table(report, arguments)


def _labels(collection: "Collection", source: str | None) -> dict[int, str] | None:
    from .collection.labelling.read_labels import read_labels

    return None if source is None else read_labels(collection, source, on_remark=cli.remark)


def _measure(collection: "Collection") -> None:
    from .collection.check.measure_thumbnails import measure_thumbnails
    from .core.progress import bar

    with bar("measuring", 0) as shown:
        done = measure_thumbnails(collection, shown.of, shown.advance)
    cli.remark(f"measured {done} images by their thumbnails")


def _note_fine(collection: "Collection", report: "Report", arguments: Arguments) -> str:
    """Note what is fine, in the report, too, and return what to tell about it."""
    from .collection.check.asked import needed_for
    from .collection.check.find_problems import with_fine
    from .collection.check.fine import set_fine

    named: dict[bool, list[Problem]] = {True: [], False: []}
    for given, fine in ((arguments.fine, True), (arguments.not_fine, False)):
        for path in given:
            item = collection.item_at(path)
            if item is None:
                raise UserError(f"{path}: not an image of the collection")
            problems = [
                problem for problem in report.problems if problem.item is not None and problem.item.id == item.id
            ]
            if not problems:
                absent = (
                    "" if arguments.kind else needed_for(labels=bool(arguments.labels), splits=bool(arguments.splits))
                )
                raise UserError(f"{path}: nothing was found about it{absent}")
            named[fine] += problems
    for fine, problems in named.items():
        set_fine(collection, problems, fine=fine)
    before, report.problems = report.problems, with_fine(collection, report.problems)
    # a mark holds for a content, so it may concern other files as well
    changed = [new for old, new in zip(before, report.problems, strict=True) if old.fine != new.fine]
    ids = {problem.item.id for problem in (*named[True], *named[False]) if problem.item is not None}
    others = sum(problem.item is not None and problem.item.id not in ids for problem in changed)
    more = f": {others} of them about other files with the same content" if others else ""
    return f"{_count(len(changed), 'finding')} noted{more}"


def _narrow(collection: "Collection", report: "Report", arguments: Arguments) -> None:
    from .core.paths import absolute

    folders = [absolute(folder) for folder in arguments.folders]
    for folder, typed in zip(folders, arguments.folders, strict=True):
        if not any(_below(item.path, [folder]) for item in collection):
            raise UserError(f"{typed}: nothing of it is indexed; run: python -m simsiam_retrieval.index {typed}")
    if folders:
        report.images = sum(_below(item.path, folders) for item in collection)
    report.problems = [
        problem
        for problem in report.problems
        if (arguments.all or not problem.fine) and (not folders or _below(Path(problem.path), folders))
    ]


def _below(path: Path, folders: Sequence[Path]) -> bool:
    return any(folder in (path, *path.parents) for folder in folders)


def _write_page(collection: "Collection", report: "Report", file: Path) -> None:
    from .collection.check.report import write_page

    try:
        write_page(collection, report, file)
    except OSError as error:
        raise UserError(f"{file}: cannot be written ({error.strerror})") from None
    cli.remark(f"wrote {printable(file)}")


def _remark(report: "Report") -> None:
    if report.not_measured:
        were = "was" if report.not_measured == 1 else "were"
        cli.remark(f"{_count(report.not_measured, 'image')} {were} not measured yet; add --measure")
    for line in report.skipped_lines():
        cli.remark(line)


def _print_csv(report: "Report") -> None:
    from .collection.check.report import as_csv

    # names as they are, byte for byte, for programs; a terminal obeys what is in them, so it gets them cleaned
    shown = printable if sys.stdout.isatty() else str
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="surrogateescape", newline="")  # pyright: ignore[reportAttributeAccessIssue]
    sys.stdout.write(as_csv(report.problems, shown))


def _print_table(report: "Report", arguments: Arguments) -> None:
    from .collection.check.problems import KINDS, LABEL_ERROR, LEAK
    from .collection.check.report import leak_lines

    for line in leak_lines(report):
        print(printable(line))
    if not report.problems:
        looked = not arguments.kind or set(arguments.kind) - set(report.skipped)
        print(f"nothing {'found' if looked else 'was looked for'} among {_count(report.images, 'image')}")
    needed = {
        LEAK: f"{shlex.join(['--splits', *arguments.splits])} ",
        LABEL_ERROR: f"{shlex.join(['--labels', arguments.labels or ''])} ",
    }
    for kind, what in KINDS.items():
        problems = [problem for problem in report.problems if problem.kind == kind]
        if not problems:
            continue
        print(f"{kind}: {len(problems)} ({what})")
        shown = problems if arguments.all else problems[:SHOWN]
        for problem in shown:
            print(f"  {problem.score:6.2f}  {printable(problem.path)}  {_reason(problem)}")
        if len(shown) < len(problems):
            more = f"--kind '{kind}' {needed.get(kind, '')}--all"
            print(f"  ... {len(problems) - len(shown)} more: {printable(more)}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _reason(problem: "Problem") -> str:
    like = f", like {printable(problem.other)}" if problem.other else ""
    return f"{problem.reason}{like}{' (fine)' if problem.fine else ''}"


if __name__ == "__main__":
    cli.run(main)
