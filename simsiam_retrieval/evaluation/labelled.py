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
    """Image files below one folder, each with the name of its class."""

    given: Path  # the folder, as it was named
    files: list[ImageFile]  # sorted by path
    names: list[str]  # the class of each
    remarks: list[str] = field(default_factory=list)  # what was passed over, one line each

    @property
    def classes(self) -> list[str]:
        """Names of the classes, sorted."""
        return sorted(set(self.names))


def labelled_files(folder: Path, labels: Path | None = None) -> LabelledFiles:
    """The labelled images below ``folder``.

    A file's class is the first subfolder below ``folder``, or what the CSV file ``labels`` says (:func:`read_labels`).

    Raises :class:`UserError` when the folder does not exist or holds no labelled image.
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
        if len(below) > 1:  # a picture beside the class folders has no label
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
    """Labels by absolute path, from a CSV file with the columns ``path`` and ``label`` (others are passed over).

    Paths are absolute, or relative to the CSV file's folder. Raises :class:`UserError`, naming the line, for a file
    that lacks a column, an empty field, or two labels for one path.
    """
    file = absolute(file)
    named: dict[Path, str] = {}
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.DictReader(text, strict=True)  # else a quote that is not closed swallows the rest
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
    """The classes to tell apart: those of the training folder.

    Raises :class:`UserError` where there is only one, or where the test folder has a class that training lacks.
    """
    classes = train.classes
    if len(classes) < 2:
        raise UserError(f"{train.given}: only one class ({printable(classes[0])}); a classifier needs at least two")
    unknown = sorted(set(test.names) - set(classes))
    if unknown:
        raise UserError(f"{test.given}: classes that the training folder lacks: {printable(', '.join(unknown[:5]))}")
    return classes


def thin_classes(names: Sequence[str]) -> list[str]:
    """Classes with a single image: nothing can be held out of them, and they have no neighbour of their kind."""
    return sorted(name for name, count in Counter(names).items() if count == 1)
