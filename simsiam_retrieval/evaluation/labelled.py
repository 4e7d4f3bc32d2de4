"""Frozen features of a labelled folder: one subfolder per class."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..embedding import embed_files
from ..encoder import Encoder
from ..errors import UserError
from ..images.files import ImageFile, absolute, list_images


@dataclass
class Labelled:
    """Features and classes of a folder's images."""

    features: NDArray[np.float32]  # (n, dim), unit rows
    labels: NDArray[np.int64]  # (n,), indices into classes
    classes: list[str]
    failed: list[tuple[Path, str]]  # files that could not be read


def labelled_files(folder: Path) -> tuple[list[ImageFile], list[str]]:
    """Images below ``folder``'s subfolders, and each image's class: the name of that subfolder.

    Raises :class:`UserError` when the folder does not exist or has no subfolder with images.
    """
    folder = absolute(folder)
    files, names = [], []
    for file in list_images([folder]).images:
        below = file.path.relative_to(folder).parts
        if len(below) > 1:  # a picture beside the class folders has no label
            files.append(file)
            names.append(below[0])
    if not files:
        raise UserError(f"{folder}: no labelled images; it needs one subfolder of images per class")
    return files, names


def embed_labelled(
    folder: Path,
    encoder: Encoder,
    classes: list[str] | None = None,
    *,
    workers: int | None = None,
    on_start: Callable[[int], None] = lambda total: None,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Labelled:
    """Embed a labelled folder.

    ``classes``: those of the training folder, when this is the test folder; a class that is not among them raises
    :class:`UserError`, as does a folder none of whose images can be read.
    """
    files, names = labelled_files(folder)
    if classes is None:
        classes = sorted(set(names))
        if len(classes) < 2:
            raise UserError(f"{folder}: only one class ({classes[0]}); a classifier needs at least two")
    unknown = sorted(set(names) - set(classes))
    if unknown:
        raise UserError(f"{folder}: classes that the training folder lacks: {', '.join(unknown[:5])}")
    number = {name: index for index, name in enumerate(classes)}
    on_start(len(files))
    vectors, labels, failed = [], [], []
    position = 0
    for chunk in embed_files(files, encoder, workers=workers):
        for embedded in chunk:
            if embedded.vector is None:
                failed.append((embedded.file.path, embedded.error or "no reason given"))
            else:
                vectors.append(embedded.vector)
                labels.append(number[names[position]])
            position += 1
        on_progress(len(chunk))
    if not vectors:
        raise UserError(f"{folder}: none of {len(files)} images can be read; the first: {failed[0][0]}: {failed[0][1]}")
    return Labelled(np.stack(vectors), np.array(labels, np.int64), classes, failed)
