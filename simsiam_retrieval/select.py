"""``python -m simsiam_retrieval.select N``."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from .collection.search.filters import NO_FILTER, Filter
from .core import cli
from .core.errors import UserError
from .core.text import printable

if TYPE_CHECKING:
    from .collection import Collection
    from .collection.selection.select_images import Selected

EXAMPLES = """examples:
  select 100                                  the 100 images that are most worth a label
  select 100 --out first.csv                  the same as a table
  select 100 --chosen first.csv               100 more
  select 50 --folder ./2024 --links to-label  of one folder, as links in a new folder
  select 100 --label-studio tasks.json        as tasks for Label Studio"""


@dataclass(frozen=True)
class Arguments:
    """Choose the images of a collection that are most worth a label.

    Labelled images (--labels) are not chosen again, and images like them come later. No image file is read or changed.
    """

    count: tyro.conf.Positional[Annotated[int, tyro.conf.arg(metavar="N")]]
    """Number of images."""
    collection: Path | None = None
    """Name or folder of the collection. Default: the one used last."""
    strategy: str = "auto"
    """auto, representative, typical, central, diverse, uncertain, mixed or random (docs/select.md)."""
    labels: str = "app"
    """Labels that exist: app (given in the app), folders (names of folders), none, or a file: CSV, an export of Label
    Studio or of CVAT."""
    chosen: tyro.conf.UseAppendAction[tuple[Path, ...]] = ()
    """Images chosen earlier: a CSV or JSON file of select, or text with one path a line. May be repeated."""
    where: Annotated[Filter, tyro.conf.arg(name="")] = NO_FILTER
    seed: int = 0
    """Seed of the random numbers."""
    csv: bool = False
    """Print CSV."""
    json: bool = False
    """Print JSON."""
    out: Path | None = None
    """Write the list into this file: .csv, .json, or .txt with one path a line."""
    links: Path | None = None
    """Make a folder with symbolic links to the images."""
    copies: Path | None = None
    """Make a folder with copies of the images."""
    label_studio: Path | None = None
    """Write tasks for Label Studio into this .json file, and its labelling configuration beside it (.xml)."""
    cvat: Path | None = None
    """Write annotations for CVAT into this .xml file, and its labels beside it (.labels.json)."""
    root: Path | None = None
    """Folder that Label Studio or CVAT sees the images in. Default: the deepest one that holds all."""
    classes: tuple[str, ...] = ()
    """Classes to choose from in Label Studio and CVAT. Default: those of --labels."""


def main() -> None:
    """Run the command.

    Raises:
        UserError: An option or an input cannot work.
    """
    arguments = cli.parse(Arguments, "select", examples=EXAMPLES)
    if arguments.csv and arguments.json:
        raise UserError("--json or --csv: choose one")
    if arguments.links and arguments.copies:
        raise UserError("--links or --copies: choose one")
    if arguments.out is not None and arguments.out.suffix.lower() not in (".csv", ".json", ".txt"):
        raise UserError(f"--out {arguments.out}: name a file that ends in .csv, .json or .txt")
    # imported here, so that --help is fast
    from .collection import Collection
    from .collection.search.given_folders import check_folders
    from .collection.selection.outputs import check_no_pages, check_outputs
    from .core.known_collections import find_collection

    check_outputs(arguments.out, arguments.label_studio, arguments.cvat, [*arguments.chosen, Path(arguments.labels)])
    folder = find_collection(arguments.collection)
    with Collection.open(folder) as collection:
        cli.remark_collection(arguments.collection, folder)
        check_folders(collection, arguments.where)
        labels = _labels(collection, arguments.labels)
        selected = collection.select(
            arguments.count,
            arguments.strategy,
            where=arguments.where,
            labels=labels,
            chosen=_chosen(collection, arguments.chosen),
            seed=arguments.seed,
        )
    for option in _handed_over(arguments):
        check_no_pages(selected, option)
    classes = _classes(selected, labels, arguments)
    written = _write(selected, classes, arguments)
    if not classes and (arguments.label_studio or arguments.cvat):
        cli.remark("no classes are known: name them with --classes, or add them in the project")
    if arguments.json:
        from .collection.selection.selection_files import as_json

        print(as_json(selected))
    elif arguments.csv:
        _print_csv(selected)
    elif not written:
        _print_table(selected)


def _handed_over(arguments: Arguments) -> list[str]:
    """The given options that need whole files."""
    options = {
        "--links": arguments.links,
        "--copies": arguments.copies,
        "--label-studio": arguments.label_studio,
        "--cvat": arguments.cvat,
    }
    return [option for option, file in options.items() if file is not None]


def _classes(selected: "list[Selected]", labels: dict[int, str], arguments: Arguments) -> list[str]:
    """The classes to choose from: those given, else those of the labels."""
    classes = sorted(set(arguments.classes or labels.values()))
    if arguments.label_studio is None and arguments.cvat is None:
        return classes
    missing = sorted({one.choice.label for one in selected if one.choice.label is not None} - set(classes))
    if missing:
        raise UserError(
            f"--classes: without {printable(missing[0])}, which --labels has; add it, or leave --classes out"
        )
    return classes


def _labels(collection: "Collection", source: str) -> dict[int, str]:
    from .collection.labelling.read_labels import APP, read_labels

    if source == "none":
        return {}
    if source == APP:  # there need not be any
        return collection.labels()
    return read_labels(collection, source, on_remark=cli.remark)


def _chosen(collection: "Collection", files: tuple[Path, ...]) -> list[int]:
    if not files:
        return []
    from .collection.labelling.match_names import ImageNames
    from .collection.selection.earlier import earlier_names
    from .core.paths import absolute

    found: list[int] = []
    items = collection.items()
    for file in files:
        names, given = ImageNames(items, absolute(file).parent), earlier_names(file)
        ids = [names.find(name) for name in given]
        found += [id_ for id_ in ids if id_ is not None]
        if ids.count(None) == len(ids):
            raise UserError(f"--chosen {file}: names no image of the collection")
        if None in ids:
            first = given[ids.index(None)]
            cli.remark(
                f"{ids.count(None)} of {len(ids)} lines of {file} name no image here, such as {printable(first)}"
            )
    return found


def _write(selected: "list[Selected]", classes: list[str], arguments: Arguments) -> bool:
    """Write what was asked for; whether anything was."""
    from .collection.selection import selection_files

    folder = arguments.links or arguments.copies
    if folder is not None:
        selection_files.write_folder(selected, folder, copies=arguments.copies is not None)
        cli.remark(f"wrote {printable(folder)}: {len(selected)} {'copies' if arguments.copies else 'links'}")
    if arguments.out is not None:
        selection_files.write_list(selected, arguments.out)
        cli.remark(f"wrote {printable(arguments.out)}: {len(selected)} images")
    if arguments.label_studio is not None:
        from .collection.selection.label_studio_tasks import write_tasks

        root = _root(selected, arguments)
        config = write_tasks(arguments.label_studio, selected, classes, root)
        cli.remark(f"wrote {printable(arguments.label_studio)} and {printable(config)}; start Label Studio with")
        cli.remark("  LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true")
        cli.remark(f"  LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={printable(root)}")
    if arguments.cvat is not None:
        from .collection.selection.cvat_annotations import write_annotations

        root = None if folder is not None and arguments.root is None else _root(selected, arguments)
        labels = write_annotations(arguments.cvat, selected, classes, root)
        where = printable(folder if root is None and folder is not None else root or "")
        cli.remark(f"wrote {printable(arguments.cvat)} and {printable(labels)}; image names are relative to {where}")
    return bool(folder or arguments.out or arguments.label_studio or arguments.cvat)


def _root(selected: "list[Selected]", arguments: Arguments) -> Path:
    import os

    from .core.paths import absolute

    if arguments.root is not None:
        return absolute(arguments.root)
    return Path(os.path.commonpath([one.path.parent for one in selected]))


def _print_csv(selected: "list[Selected]") -> None:
    from .collection.selection.selection_files import as_csv

    # names as they are, byte for byte, for programs; a terminal obeys what is in them, so it gets them cleaned
    shown = printable if sys.stdout.isatty() else str
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="surrogateescape", newline="")  # pyright: ignore[reportAttributeAccessIssue]
    sys.stdout.write(as_csv(selected, shown))


def _print_table(selected: "list[Selected]") -> None:
    for one in selected:
        said = "" if one.choice.label is None else f"  [{printable(one.choice.label)} {one.choice.probability:.0%}]"
        print(f"{one.rank:4d}  {printable(one.path)}  {one.choice.reason}{said}")


if __name__ == "__main__":
    cli.run(main)
