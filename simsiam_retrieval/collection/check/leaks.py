"""Images of a test set that are copies of training images, and what they do to its kNN accuracy."""

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...core.errors import UserError
from ...core.paths import absolute
from ...core.text import one_spelling
from ...images.page_paths import page_of
from ..collection import Collection
from ..duplicates.plain_pictures import without_plain
from ..duplicates.thresholds import check_threshold
from ..storage.catalog_file import explained
from ..storage.opening import open_store
from ..types import Item
from .problems import Problem

NEIGHBOURS, TEMPERATURE = 20, 0.1  # of the kNN classifier (Wu et al. 2018), as ``probe`` uses it
_BLOCK = 4096  # test images that are compared at once


@dataclass(frozen=True)
class Split:
    """A part of a data set.

    Attributes:
        name: Its name, such as "train".
        folder: Its images lie at or below this folder; absolute.
        given: The folder as it was typed, for messages.
    """

    name: str
    folder: Path
    given: str = ""

    @classmethod
    def parse(cls, text: str) -> "Split":
        """Read a split.

        Args:
            text: ``NAME=FOLDER``.

        Returns:
            The split.

        Raises:
            UserError: It is something else.
        """
        name, given, folder = text.partition("=")
        if not (name and given and folder):
            raise UserError(f"--splits {text}: write NAME=FOLDER, such as train=./train")
        return cls(name, absolute(folder), folder)


@dataclass(frozen=True)
class Leaks:
    """What of one split is in another.

    Attributes:
        train: Name of the split with the originals.
        test: Name of the split that is judged.
        images: Its images.
        leaked: Those that are copies of an image in ``train``, or nearly.
        exact: Those with the same bytes.
        accuracy: kNN accuracy of all labelled test images, 0 to 1; None without labels of two classes.
        accuracy_without: The same without the leaked ones; None if none is left.
        judged: Labelled test images.
    """

    train: str
    test: str
    images: int
    leaked: int
    exact: int
    accuracy: float | None = None
    accuracy_without: float | None = None
    judged: int = 0

    @property
    def share(self) -> float:
        """Fraction of the test images that leaked."""
        return self.leaked / self.images

    def as_dict(self) -> dict[str, str | int | float | None]:
        """Return the values for JSON.

        Returns:
            Name -> value.
        """

        def short(value: float | None) -> float | None:
            return None if value is None else round(value, 4)

        return {
            "train": self.train,
            "test": self.test,
            "images": self.images,
            "leaked": self.leaked,
            "exact": self.exact,
            "share": round(self.share, 4),
            "knn_accuracy": short(self.accuracy),
            "knn_accuracy_without": short(self.accuracy_without),
            "judged": self.judged,
        }


def check_splits(splits: Sequence[Split]) -> None:
    """Check that there are two or more splits, each with a name of its own.

    Args:
        splits: The splits.

    Raises:
        UserError: There are fewer, or two have the same name.
    """
    if len(splits) < 2:
        raise UserError("--splits: name two or more, such as train=./train test=./test")
    names = [split.name for split in splits]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"--splits: {names.count(name)} are named {name}; give each a name of its own")


def find_leaks(
    collection: Collection,
    splits: Sequence[Split],
    *,
    threshold: float | None = None,
    labels: Mapping[int, str] | None = None,
) -> tuple[list[Problem], list[Leaks]]:
    """Compare each split with all earlier ones. Opens no image file.

    A test image leaked if a training image has the same bytes, or a cosine of at least the threshold with it. Pictures
    of one colour only leak by their bytes. kNN: 20 neighbours with weight exp(cosine / 0.1).

    Args:
        collection: The collection; it contains all splits.
        splits: The splits, training first.
        threshold: Lowest cosine of near-copies, see ``Collection.duplicates``.
        labels: Id -> label, for the accuracy. None: the name of the first folder below the split's.

    Returns:
        The leaked images, the closest first, and one summary for each pair of splits.

    Raises:
        UserError: There are fewer than two splits, two have the same name, one contains no image or overlaps another
            one, or no threshold is known.
    """
    check_splits(splits)
    least = check_threshold(threshold, collection.encoder_identity, collection.folder)
    with explained(collection.folder), contextlib.closing(open_store(collection.folder)) as catalog:
        with catalog.snapshot():
            items = {item.id: item for item in catalog.items(-1, 0)}
            digests = {id_: digest for id_, *_, digest in catalog.by_quality()}
            ids = np.array(sorted(items), np.int64)
            vectors = catalog.vectors_of(ids, collection.dim)
        compared = without_plain(catalog, ids, vectors.copy())
    members = _members(splits, [items[id_] for id_ in ids.tolist()])
    named = _folder_labels(splits, members, [items[id_] for id_ in ids.tolist()])
    if labels is not None:
        named = [labels.get(id_) for id_ in ids.tolist()]
    found: list[Problem] = []
    summaries = []
    for place, test in enumerate(splits):
        for other, train in enumerate(splits[:place]):
            rows, references = members[place], members[other]
            nearest, cosines, same = _copies(compared, rows, references, ids, digests, least)
            leaked = nearest >= 0
            for row in np.argsort(-cosines, kind="stable"):
                if not leaked[row]:
                    continue
                item, original = items[int(ids[rows[row]])], items[int(ids[nearest[row]])]
                how = "the same bytes" if same[row] else f"a cosine of {cosines[row]:.3f}"
                reason = f"in {test.name} and {train.name}, {how}"
                found.append(
                    Problem("leak", os.fspath(item.path), float(cosines[row]), reason, item, os.fspath(original.path))
                )
            accuracy = _accuracies(vectors, rows, references, named, leaked)
            summaries.append(
                Leaks(train.name, test.name, len(rows), int(leaked.sum()), int((same & leaked).sum()), *accuracy)
            )
    return found, summaries


def _members(splits: Sequence[Split], items: Sequence[Item]) -> list[NDArray[np.int64]]:
    """Rows of each split."""
    paths = [one_spelling(os.fspath(item.path)) for item in items]
    found: list[NDArray[np.int64]] = []
    taken: dict[int, Split] = {}
    for split in splits:
        folder = one_spelling(os.fspath(split.folder))
        inside = folder.rstrip(os.sep) + os.sep
        rows = [row for row, path in enumerate(paths) if path == folder or path.startswith(inside)]
        if not rows:
            raise UserError(
                f"--splits {split.name}={split.given or split.folder}: nothing of it is indexed; "
                f"run: python -m simsiam_retrieval.index {split.given or split.folder}"
            )
        for row in rows:
            if row in taken:
                raise UserError(f"--splits: {split.name} and {taken[row].name} overlap; splits share no folder")
            taken[row] = split
        found.append(np.array(rows, np.int64))
    return found


def _folder_labels(
    splits: Sequence[Split], members: Sequence[NDArray[np.int64]], items: Sequence[Item]
) -> list[str | None]:
    """The first folder below that of the split; None for images beside those."""
    found: list[str | None] = [None] * len(items)
    for split, rows in zip(splits, members, strict=True):
        depth = len(split.folder.parts)
        for row in rows.tolist():
            parts = page_of(items[row].path)[0].parts
            found[row] = parts[depth] if len(parts) > depth + 1 else None
    return found


def _copies(
    vectors: NDArray[np.float32],
    rows: NDArray[np.int64],
    references: NDArray[np.int64],
    ids: NDArray[np.int64],
    digests: Mapping[int, bytes | None],
    least: float,
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]:
    """For each test row the training row that it copies or -1, their cosine, and whether their bytes are equal."""
    from ..index import faiss_when_used as faiss

    known = {digests.get(int(ids[row])): int(row) for row in references[::-1].tolist()}
    known.pop(None, None)
    nearest = np.full(len(rows), -1, np.int64)
    cosines = np.zeros(len(rows), np.float32)
    own = np.ascontiguousarray(vectors[references])
    for start in range(0, len(rows), _BLOCK):
        block = slice(start, start + _BLOCK)
        scores, found = faiss.knn(np.ascontiguousarray(vectors[rows[block]]), own, 1, metric=faiss.METRIC_INNER_PRODUCT)
        cosines[block] = np.minimum(scores[:, 0], 1)
        nearest[block] = np.where(scores[:, 0] >= least, references[found[:, 0]], -1)
    equal = np.array([known.get(digests.get(int(ids[row])), -1) for row in rows.tolist()], np.int64)
    same = equal >= 0
    nearest[same], cosines[same] = equal[same], 1
    return nearest, cosines, same


def _accuracies(
    vectors: NDArray[np.float32],
    rows: NDArray[np.int64],
    references: NDArray[np.int64],
    labels: Sequence[str | None],
    leaked: NDArray[np.bool_],
) -> tuple[float | None, float | None, int]:
    """Accuracy by kNN with and without the leaked rows, and how many rows were judged."""
    from ..index import faiss_when_used as faiss

    references = np.array([row for row in references.tolist() if labels[row] is not None], np.int64)
    classes, truth = np.unique([str(labels[row]) for row in references.tolist()], return_inverse=True)
    judged = np.flatnonzero([labels[row] is not None for row in rows.tolist()])
    if len(classes) < 2 or not len(judged):
        return None, None, 0
    k = min(NEIGHBOURS, len(references))
    own = np.ascontiguousarray(vectors[references])
    right = np.empty(len(judged), bool)
    for start in range(0, len(judged), _BLOCK):
        block = rows[judged[start : start + _BLOCK]]
        cosines, found = faiss.knn(np.ascontiguousarray(vectors[block]), own, k, metric=faiss.METRIC_INNER_PRODUCT)
        weights = np.exp((cosines - cosines[:, :1]) / TEMPERATURE)
        votes = np.zeros((len(block), len(classes)), np.float32)
        np.add.at(votes, (np.arange(len(block))[:, None], truth[found]), weights)
        names = classes[votes.argmax(axis=1)]
        right[start : start + len(block)] = names == [labels[row] for row in block.tolist()]
    kept = ~leaked[judged]
    return float(right.mean()), float(right[kept].mean()) if kept.any() else None, len(judged)
