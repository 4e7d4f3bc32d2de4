"""Labels of a collection's images from where a person says: folders, the app, or a file."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import UserError
from ...core.paths import absolute
from ...core.text import printable
from ...images.page_paths import page_of
from ..collection import Collection
from ..types import Item
from .exported_labels import Exported, exported_labels
from .match_names import ImageNames

FOLDERS, APP = "folders", "app"


@dataclass(frozen=True)
class Found:
    """Labels of a file.

    Attributes:
        labels: Item id -> label.
        unknown: Names in the file of which the collection has no image, or several.
        several: Names in the file with more than one label; they are left out of ``labels``.
    """

    labels: dict[int, str]
    unknown: tuple[str, ...] = ()
    several: tuple[str, ...] = ()

    def remarks(self) -> list[str]:
        """Say what was left out.

        Returns:
            Lines for a person.
        """
        found = []
        for names, what in ((self.unknown, "not one image of the collection"), (self.several, "with several labels")):
            if names:
                more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
                found.append(f"left out, {what}: {', '.join(map(printable, names[:3]))}{more}")
        return found


def read_labels(
    collection: Collection, source: str, *, on_remark: Callable[[str], None] = lambda line: None
) -> dict[int, str]:
    """Read labels of a collection's images.

    Args:
        collection: The collection.
        source: ``folders`` (the name of the folder that an image lies in), ``app`` (those given in the app), or a file:
            see ``labels_of_file``.
        on_remark: Called with each line of ``Found.remarks``: what of the file was left out.

    Returns:
        Id -> label, of the images that have one.

    Raises:
        UserError: The file cannot be used, or there are no labels.
    """
    if source == FOLDERS:
        found = {item.id: page_of(item.path)[0].parent.name for item in collection}
    elif source == APP:
        found = collection.labels()
    else:
        read = labels_of_file(collection.items(), Path(source))
        for line in read.remarks():
            on_remark(line)
        found = read.labels
    if not found:
        raise UserError(f"--labels {source}: no image of the collection has a label there")
    return found


def labels_of_file(items: Iterable[Item], file: Path) -> Found:
    """Read a file of labels and find its images.

    Args:
        items: The images of the collection.
        file: CSV with the columns path and label, an export of Label Studio (JSON, JSON_MIN, CSV, TSV) or of CVAT
            ('CVAT for images 1.1'). Paths are absolute, relative to the file, or the last parts of an image's path.

    Returns:
        The labels.

    Raises:
        UserError: The file cannot be read, or is none of these.
    """
    try:
        rows = exported_labels(file.expanduser())
    except UserError as error:
        raise UserError(f"--labels {error}") from None
    return _found(rows, ImageNames(items, absolute(file).parent))


def _found(rows: Iterable[Exported], names: ImageNames) -> Found:
    given: dict[int, dict[str, str]] = {}  # id -> label -> name in the file
    unknown = []
    for row in rows:
        id_ = names.find(row.name)
        if id_ is None:
            unknown.append(row.name)
        else:
            given.setdefault(id_, {}).update(dict.fromkeys(row.labels, row.name))
    several = [next(iter(labels.values())) for labels in given.values() if len(labels) > 1]
    return Found(
        {id_: next(iter(labels)) for id_, labels in given.items() if len(labels) == 1}, tuple(unknown), tuple(several)
    )
