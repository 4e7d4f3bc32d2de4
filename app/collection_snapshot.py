"""What Map and Teach need of all images at once, read once a generation and shared by all visitors."""

import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from simsiam_retrieval.collection import Collection
from simsiam_retrieval.collection.explore.few_shot_classifier import (
    CrossValidation,
    LinearProbe,
    Scaling,
    cross_validate,
    load_solver,
    train,
)
from simsiam_retrieval.collection.storage.catalog_file import FILE
from simsiam_retrieval.core.errors import UserError


@dataclass(frozen=True)
class Whole:
    """All images of one generation."""

    key: tuple[str, int, int, int]  # the collection's folder and file, and its generation
    ids: NDArray[np.int64]  # (n,), ascending
    vectors: NDArray[np.float32]  # (n, dim), unit length
    scaling: Scaling
    paths: list[str]  # in the order of ids; not Path, which Python's garbage collection would visit after every run

    @property
    def generation(self) -> int:
        """Generation of the collection that these images are of."""
        return self.key[-1]

    @cached_property
    def folder_names(self) -> list[str]:
        """Name of each image's folder, in the order of ids."""
        return [Path(path).parent.name for path in self.paths]

    @cached_property
    def folder_counts(self) -> Counter[str]:
        """Name of a folder -> number of images in folders of that name."""
        return Counter(self.folder_names)

    def rows(self, ids: Iterable[int]) -> NDArray[np.int64]:
        """Find the rows of images.

        Args:
            ids: Ids of images.

        Returns:
            int64 (n,), in the order of ``ids``; ids that are not there are left out.
        """
        wanted = np.fromiter(ids, np.int64)
        if not len(self.ids):
            return wanted[:0]
        found = np.searchsorted(self.ids, wanted).clip(max=len(self.ids) - 1)
        return found[self.ids[found] == wanted]


@dataclass(frozen=True)
class Taught:
    """What the labels of a moment teach."""

    rows: NDArray[np.int64]  # labelled images
    labels: list[str]  # of those rows
    probe: LinearProbe
    probabilities: NDArray[np.float32]  # (n, classes), of all images
    checked: CrossValidation | None  # its rows are positions in ``rows``

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(n,), indices into the probe's classes."""
        return self.probabilities.argmax(axis=1)


def whole(collection: Collection) -> Whole:
    """Read all images of a collection as they are now.

    Args:
        collection: It must hold at least one image.

    Returns:
        The images, cached for its generation.
    """
    try:
        status = (collection.folder / FILE).stat()
    except OSError:
        raise UserError(f"{collection.folder}: no longer there") from None
    return _whole(collection, (str(collection.folder), status.st_dev, status.st_ino), collection.generation)


@st.cache_resource(show_spinner="Reading all vectors …", max_entries=1)
def _whole(_collection: Collection, file: tuple[str, int, int], generation: int) -> Whole:
    threading.Thread(target=load_solver, daemon=True).start()  # so that the first click on Teach need not wait for it
    while True:
        before = _collection.generation
        ids, vectors = _collection.vectors()
        paths = {item.id: str(item.path) for item in _collection.items()}
        if _collection.generation == before:  # else an update came between
            break
    return Whole((*file, before), ids, vectors, Scaling.of(vectors), [paths[id_] for id_ in ids.tolist()])


def taught(images: Whole, labels: dict[int, str]) -> Taught | None:
    """Train the few-shot classifier.

    Args:
        images: All images of the collection.
        labels: Item id -> label.

    Returns:
        Predictions for all images; None for fewer than two classes among them.
    """
    rows = images.rows(labels)
    known = [(row, labels[id_]) for row, id_ in zip(rows.tolist(), images.ids[rows].tolist(), strict=True)]
    known.sort()
    if len({label for _, label in known}) < 2:
        return None
    return _taught(images, images.key, tuple(known))


@st.cache_resource(show_spinner="Training the probe …", max_entries=8)
def _taught(_images: Whole, key: tuple[str, int, int, int], known: tuple[tuple[int, str], ...]) -> Taught:
    rows = np.array([row for row, _ in known])
    labels = [label for _, label in known]
    vectors = _images.vectors[rows]
    probe = train(vectors, labels, _images.scaling)
    return Taught(
        rows, labels, probe, probe.probabilities(_images.vectors), cross_validate(vectors, labels, _images.scaling)
    )
