"""Labelled image files: one subfolder per class, or a CSV file of labels."""

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..core.errors import UserError
from ..core.paths import absolute
from ..core.text import printable
from ..images.files import ImageFile, list_images


@dataclass
class LabelledFiles:
    """Image files below one folder, each with its class.

    Attributes:
        given: The folder, as it was named.
        files: Sorted by path.
        names: Class of each file.
        remarks: What was skipped, one line each.
    """

    given: Path
    files: list[ImageFile]
    names: list[str]
    remarks: list[str] = field(default_factory=list)

    @property
    def classes(self) -> list[str]:
        """Names of the classes, sorted."""
        return sorted(set(self.names))


def labelled_files(folder: Path, labels: Path | None = None) -> LabelledFiles:
    """List the labelled images below a folder.

    Args:
        folder: The folder.
        labels: A CSV file of labels (see ``read_labels``). None: the first subfolder below ``folder`` is the class.

    Returns:
        The files and their classes.

    Raises:
        UserError: The folder does not exist or contains no labelled image.
    """
    given, folder = folder, absolute(folder)
    listing = list_images([folder])
    remarks = [f"left out: {printable(path)}: {reason}" for path, reason in listing.unreadable[:10]]
    if labels is not None:
        named = read_labels(labels)
        files = [file for file in listing.images if file.path in named]
        if not files:
            raise UserError(f"{folder}: none of its {len(listing.images)} images is named in {labels}")
        if len(files) < len(listing.images):
            remarks.append(f"left out: {len(listing.images) - len(files)} images of {folder} without a label")
        return LabelledFiles(given, files, [named[file.path] for file in files], remarks)
    files, names = [], []
    for file in listing.images:
        below = file.path.relative_to(folder).parts if file.path != folder else ()
        if len(below) > 1:  # an image outside the class folders has no label
            files.append(file)
            names.append(below[0])
    if not files:
        raise UserError(f"{folder}: no labelled images; it needs one subfolder of images per class, or --labels FILE")
    beside = len(listing.images) - len(files)
    if beside:
        remarks.append(f"left out: {beside} images beside the class folders of {folder}")
    for empty in sorted(_subfolders(folder) - set(names)):
        remarks.append(f"left out: class folder {printable(folder / empty)} holds no images")
    return LabelledFiles(given, files, names, remarks)


def _subfolders(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")}


def read_labels(file: Path) -> dict[Path, str]:
    """Read a CSV file with the columns ``path`` and ``label``; other columns are ignored.

    Args:
        file: The CSV file. Its paths are absolute, or relative to its folder.

    Returns:
        Absolute path -> label.

    Raises:
        UserError: A column is missing, a field is empty, or a path has two labels; the message names the line.
    """
    file = absolute(file)
    named: dict[Path, str] = {}
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.DictReader(text, strict=True)  # otherwise an unclosed quote would include the rest of the file
            missing = {"path", "label"} - set(reader.fieldnames or ())
            if missing:
                raise UserError(f"{file}: its first line must name the columns path and label")
            for row in reader:
                where, label = (row["path"] or "").strip(), (row["label"] or "").strip()
                if not where or not label:
                    raise UserError(f"{file}, line {reader.line_num}: path or label is empty")
                path = absolute(where if where.startswith("~") else file.parent / where)
                if named.setdefault(path, label) != label:
                    raise UserError(f"{file}, line {reader.line_num}: a second label for {printable(where)}")
    except FileNotFoundError:
        raise UserError(f"{file}: no such file of labels") from None
    except IsADirectoryError:
        raise UserError(f"{file}: a folder; --labels takes a CSV file") from None
    except UnicodeDecodeError:
        raise UserError(f"{file}: not a CSV file in UTF-8") from None
    except csv.Error as error:
        raise UserError(f"{file}: not a CSV file ({error}); look for a quote that is not closed") from None
    if not named:
        raise UserError(f"{file}: names no image")
    return named


def common_classes(train: LabelledFiles, test: LabelledFiles) -> list[str]:
    """Return the classes of the training folder and check the test folder against them.

    Args:
        train: Training images.
        test: Test images.

    Returns:
        Names, sorted.

    Raises:
        UserError: There is only one class, or the test folder has a class that the training folder lacks.
    """
    classes = train.classes
    if len(classes) < 2:
        raise UserError(f"{train.given}: only one class ({printable(classes[0])}); a classifier needs at least two")
    unknown = sorted(set(test.names) - set(classes))
    if unknown:
        raise UserError(f"{test.given}: classes that the training folder lacks: {printable(', '.join(unknown[:5]))}")
    return classes


def thin_classes(names: Sequence[str]) -> list[str]:
    """Return the classes with a single image.

    Nothing can be held out of them, and their image has no neighbour of its class.

    Args:
        names: Class of each image.

    Returns:
        Names, sorted.
    """
    return sorted(name for name, count in Counter(names).items() if count == 1)
