"""``python -m simsiam_retrieval.duplicates``."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from .core import cli
from .core.errors import UserError
from .core.text import printable

if TYPE_CHECKING:
    from .collection import Collection, Duplicate


EXAMPLES = """examples:
  duplicates                       near-duplicates in the whole collection
  duplicates ./photos/2024         those with a file in this folder
  duplicates --exact --csv > list.csv"""


@dataclass(frozen=True)
class Arguments:
    """List the images of a collection that are copies of each other, or nearly; delete nothing.

    Groups come with the largest first. The best file of each (most pixels, then most bytes, then no backup) is marked.
    Pairs that may be different pictures come last, as "possibly".
    """

    folders: tyro.conf.Positional[Annotated[tuple[Path, ...], tyro.conf.arg(metavar="[FOLDER ...]")]] = ()
    """List only groups with a file at or below one of these indexed folders. Default: all groups."""
    collection: Path | None = None
    """Name or folder of the collection. Default: the one used last."""
    threshold: float | None = None
    """Lowest cosine similarity with the best file of the group. Default: the one calibrated for the shipped encoder."""
    exact: bool = False
    """List only files that are equal in every byte."""
    json: bool = False
    """Print JSON."""
    csv: bool = False
    """Print CSV, one line a file."""


def main() -> None:
    """Run the command.

    Raises:
        UserError: An option or an input cannot work.
    """
    arguments = cli.parse(Arguments, "duplicates", examples=EXAMPLES)
    if arguments.json and arguments.csv:
        raise UserError("--json or --csv: choose one")
    # imported here, so that --help is fast
    from .collection import Collection
    from .collection.duplicates.duplicate_list import as_json
    from .collection.duplicates.thresholds import SURE
    from .core.known_collections import find_collection
    from .core.progress import bar

    folder = find_collection(arguments.collection)
    with Collection.open(folder) as collection, bar("comparing", 0) as shown:
        cli.remark_collection(arguments.collection, folder)
        folders = _checked(collection, arguments.folders)

        def on_progress(rows: int, total: int) -> None:
            shown.of(total)
            shown.advance(rows)

        groups = collection.duplicates(arguments.threshold, exact=arguments.exact, on_progress=on_progress)
        if folders:
            groups = [group for group in groups if any(_is_below(file.path, folders) for file in group)]
        images = len(collection)
        # a user who gives a threshold has decided what counts as a duplicate
        sure = SURE.get(collection.encoder_identity) if arguments.threshold is None else None
    lost = sum(file.state in ("gone", "changed") for group in groups for file in group)
    if lost:
        cli.remark(f"{lost} of the files below are gone or changed since they were indexed; run index to update")
    if arguments.json:
        print(as_json(groups, sure))
    elif arguments.csv:
        _print_csv(groups, sure)
    else:
        _print_tables(groups, images, sure)


def _checked(collection: "Collection", given: tuple[Path, ...]) -> list[Path]:
    """Absolute folders; raises ``UserError`` for one that the collection has nothing of."""
    from .core.paths import absolute

    folders = [absolute(folder) for folder in given]
    for folder, typed in zip(folders, given, strict=True):
        if type(collection).exists(folder):
            raise UserError(f"{typed}: a collection; type: python -m simsiam_retrieval.duplicates --collection {typed}")
        if not any(_is_below(item.path, [folder]) for item in collection):
            raise UserError(f"{typed}: nothing of it is indexed; run: python -m simsiam_retrieval.index {typed}")
    return folders


def _is_below(path: Path, folders: list[Path]) -> bool:
    return any(folder in (path, *path.parents) for folder in folders)


def _print_csv(groups: list[list["Duplicate"]], sure: float | None) -> None:
    from .collection.duplicates.duplicate_list import as_csv

    # programs get names byte for byte; a terminal gets them cleaned, because it would interpret control characters
    shown = printable if sys.stdout.isatty() else str
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="surrogateescape", newline="")  # pyright: ignore[reportAttributeAccessIssue]
    sys.stdout.write(as_csv(groups, shown, sure))


def _print_tables(groups: list[list["Duplicate"]], images: int, sure: float | None) -> None:
    from .collection.duplicates.thresholds import split_possible

    if not groups:
        print(f"no duplicates among {images} images")
        return
    surely, possibly = split_possible(groups, sure)
    if surely:
        _print_groups(surely, "group")
    if possibly:
        print(f"possibly: below a cosine of {sure:g}; some of these may be different pictures; look before you delete")
        print()
        _print_groups(possibly, "possibly")


def _print_groups(groups: list[list["Duplicate"]], what: str) -> None:
    from rich.filesize import decimal

    for number, group in enumerate(groups, 1):
        print(f"{what} {number}: {len(group)} files")
        for file in group:
            likeness = "exact" if file.exact else f"{file.score:.3f}"
            mark = "best" if file is group[0] else likeness
            pixels = f"{file.item.width}x{file.item.height}"
            state = f"  ({file.state})" if file.state else ""
            print(f"  {mark:>5}  {pixels:>11}  {decimal(file.item.size):>9}  {printable(file.path)}{state}")
        print()
    others = [file for group in groups for file in group[1:]]
    held = sum(file.item.size for file in others if file.state == "")
    besides = f"{_counted(len(others), 'file')} besides the best {'one' if len(groups) == 1 else 'ones'}"
    print(f"{_counted(len(groups), 'group')}, {besides} ({decimal(held)} on disk)")


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


if __name__ == "__main__":
    cli.run(main)
