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
  duplicates --kind crop edited    only crops and edited copies
  duplicates --across              copies between the folders that were indexed, such as train and test
  duplicates --reference ./library --move-script moves.sh --move-to ./spares
  duplicates --exact --csv > list.csv"""


@dataclass(frozen=True)
class Arguments:
    """List the images of a collection that are copies of each other; delete nothing.

    Every pair has a kind: same file, same pixels, resized or recompressed, edited, crop of, burst, look-alike.
    Groups of copies come first, then pictures that are only similar. The best file of each group is marked.
    """

    folders: tyro.conf.Positional[Annotated[tuple[Path, ...], tyro.conf.arg(metavar="[FOLDER ...]")]] = ()
    """List only groups with a file at or below one of these indexed folders. Default: all groups."""
    collection: Path | None = None
    """Name or folder of the collection. Default: the one used last."""
    threshold: float | None = None
    """Lowest cosine similarity of pictures that are listed as similar. Default: the one calibrated for the shipped
    encoder. Copies are found below it, too."""
    kind: tuple[str, ...] = ()
    """List only these kinds: same-file, same-pixels, resized, edited, crop, burst, look-alike. Default: all."""
    keep: str = "largest"
    """Which file of a group is the best: largest (pixels, then bytes), oldest, shortest-path, or folder:PATH."""
    reference: tuple[Path, ...] = ()
    """Files below these folders are the best ones; list only other files that are copies of them."""
    across: bool = False
    """List only pairs between different indexed folders."""
    exact: bool = False
    """List only files that are equal in every byte."""
    fast: bool = False
    """Compare no pixels, only vectors. Pairs have no kind then."""
    move_script: Path | None = None
    """Write a shell script that moves spare files to --move-to; a plain list of them if the name ends in .txt."""
    move_to: Path | None = None
    """Folder for the files that the script moves."""
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
    _check_options(arguments)
    # imported here, so that --help is fast
    from .collection import Collection
    from .collection.duplicates.duplicate_list import as_json
    from .collection.duplicates.thresholds import SURE
    from .core.known_collections import find_collection

    folder = find_collection(arguments.collection)
    with Collection.open(folder) as collection:
        cli.remark_collection(arguments.collection, folder)
        folders = _checked(collection, arguments.folders)
        groups = _found(collection, arguments)
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
    if arguments.move_script is not None:
        _write_moves(groups, arguments)


def _check_options(arguments: Arguments) -> None:
    if arguments.json and arguments.csv:
        raise UserError("--json or --csv: choose one")
    if arguments.move_to is not None and arguments.move_script is None:
        raise UserError("--move-to: goes with --move-script FILE, which writes the script that moves the files")
    is_list = arguments.move_script is not None and arguments.move_script.suffix.lower() == ".txt"
    if arguments.move_script is not None and arguments.move_to is None and not is_list:
        raise UserError(f"--move-script {arguments.move_script}: say where the files go: --move-to FOLDER")
    if arguments.fast:
        others = {
            "--kind": arguments.kind,
            "--reference": arguments.reference,
            "--across": arguments.across,
            "--move-script": arguments.move_script,
            "--exact": arguments.exact,
            "--keep": arguments.keep != "largest",
        }
        for name, given in others.items():
            if given:
                raise UserError(f"--fast and {name}: choose one")


def _found(collection: "Collection", arguments: Arguments) -> list[list["Duplicate"]]:
    from .collection.duplicates.preferences import WORDS, Preferences
    from .collection.duplicates.verifier import COMPARING, LEFT_OUT
    from .core.progress import bar

    with bar("comparing", 0) as shown:
        if arguments.fast:

            def on_rows(rows: int, total: int) -> None:
                shown.of(total)
                shown.advance(rows)

            return collection.duplicates(arguments.threshold, on_progress=on_rows)

        def on_progress(stage: str, done: int, total: int) -> None:
            if stage == LEFT_OUT:
                cli.remark(f"{done} of {total} pairs are not compared by their pixels; the closest ones are")
            else:
                shown.stage("vectors" if stage == COMPARING else "pixels", done, total)

        kinds = tuple(WORDS.get(kind, kind) for kind in arguments.kind)
        preferences = Preferences(kinds, arguments.keep, arguments.reference, arguments.across)
        return collection.copies(arguments.threshold, preferences, exact=arguments.exact, on_progress=on_progress)


def _write_moves(groups: list[list["Duplicate"]], arguments: Arguments) -> None:
    from .collection.duplicates.move_script import spares, write_moves
    from .collection.duplicates.preferences import WORDS
    from .core.paths import absolute

    assert arguments.move_script is not None
    moves = spares(groups, [WORDS.get(kind, kind) for kind in arguments.kind])
    write_moves(moves, arguments.move_script, absolute(arguments.move_to or Path()))
    what = "names" if arguments.move_script.suffix.lower() == ".txt" else "moves"
    cli.remark(f"{printable(arguments.move_script)} {what} {_counted(len(moves), 'file')}; nothing was moved yet")


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
        if any(file.kind for group in possibly for file in group):
            print("similar: no copies by their pixels; shots of one scene (burst), or different pictures (look-alike)")
        else:
            print(
                f"possibly: below a cosine of {sure:g}; some of these may be different pictures; look before you delete"
            )
        print()
        _print_groups(possibly, "similar" if any(file.kind for group in possibly for file in group) else "possibly")


def _print_groups(groups: list[list["Duplicate"]], what: str) -> None:
    from rich.filesize import decimal

    for number, group in enumerate(groups, 1):
        print(f"{what} {number}: {len(group)} files")
        kinds = [_kind(file) for file in group]
        wide = max(map(len, kinds))
        for file, kind in zip(group, kinds, strict=True):
            likeness = "exact" if file.exact else f"{file.score:.3f}"
            mark = "best" if file is group[0] else likeness
            pixels = f"{file.item.width}x{file.item.height}"
            state = f"  ({file.state})" if file.state else ""
            kind = f"  {kind:{wide}}" if wide else ""
            print(f"  {mark:>5}  {pixels:>11}  {decimal(file.item.size):>9}{kind}  {printable(file.path)}{state}")
        print()
    others = [file for group in groups for file in group[1:]]
    held = sum(file.item.size for file in others if file.state == "")
    besides = f"{_counted(len(others), 'file')} besides the best {'one' if len(groups) == 1 else 'ones'}"
    print(f"{_counted(len(groups), 'group')}, {besides} ({decimal(held)} on disk)")


def _kind(file: "Duplicate") -> str:
    from .collection.duplicates.duplicate_list import kind_text

    return kind_text(file)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


if __name__ == "__main__":
    cli.run(main)
