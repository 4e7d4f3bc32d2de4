"""Which images the Teach page shows, in which order."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from simsiam_retrieval.collection.explore.clusters import Clusters
from simsiam_retrieval.collection.explore.few_shot_classifier import margins

from ..collection_snapshot import Taught


def varied(clusters: Clusters) -> list[int]:
    """Ids of all images: the most typical one of each cluster, then the second ones, and so on."""
    turns = np.empty(len(clusters.ids), np.int64)
    for number in range(len(clusters.sizes)):
        rows = np.flatnonzero(clusters.numbers == number)
        turns[rows[np.argsort(-clusters.cosines[rows], kind="stable")]] = np.arange(len(rows))
    return clusters.ids[np.lexsort((clusters.numbers, turns))].tolist()


def least_sure(taught: Taught, unlabelled: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Rows of unlabelled images, those first whose two best classes are closest (margin sampling)."""
    rows = np.flatnonzero(unlabelled)
    return rows[np.argsort(margins(taught.probabilities[rows]), kind="stable")]


def taken_for(taught: Taught, name: str, unlabelled: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Rows of unlabelled images that the probe takes for ``name``, the surest first."""
    number = taught.probe.classes.index(name)
    rows = np.flatnonzero(unlabelled & (taught.predicted == number))
    return rows[np.argsort(-taught.probabilities[rows, number], kind="stable")]


def misread(taught: Taught, cell: tuple[int, int] | None = None) -> NDArray[np.int64]:
    """Rows of labelled images that cross-validation read wrongly, or of those in one ``cell`` of the matrix."""
    checked = taught.checked
    if checked is None:
        return np.zeros(0, np.int64)
    if cell is None:
        found = checked.truth != checked.predicted
    else:
        found = (checked.truth == cell[0]) & (checked.predicted == cell[1])
    return taught.rows[checked.rows[found]]


def labelled(taught_rows: Sequence[int], labels: Sequence[str], name: str | None) -> list[int]:
    """Rows of labelled images, of one class or of all, class by class."""
    pairs = sorted(zip(labels, taught_rows, strict=True))
    return [row for label, row in pairs if name is None or label == name]
