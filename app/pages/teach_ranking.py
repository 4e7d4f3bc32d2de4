"""Which images the Teach page shows, in which order."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from simsiam_retrieval.collection.explore.clusters import Clusters
from simsiam_retrieval.collection.explore.few_shot_classifier import margins

from ..collection_snapshot import Taught


def varied(clusters: Clusters) -> list[int]:
    """Sort images so that the first ones differ: the most typical one of each cluster, then the second ones, ...

    Args:
        clusters: The clusters.

    Returns:
        Ids of all images.
    """
    turns = np.empty(len(clusters.ids), np.int64)
    for number in range(len(clusters.sizes)):
        rows = np.flatnonzero(clusters.numbers == number)
        turns[rows[np.argsort(-clusters.cosines[rows], kind="stable")]] = np.arange(len(rows))
    return clusters.ids[np.lexsort((clusters.numbers, turns))].tolist()


def least_sure(taught: Taught, unlabelled: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Sort unlabelled images by how close their two best classes are (margin sampling).

    Args:
        taught: The predictions.
        unlabelled: bool (n,).

    Returns:
        int64 rows, the least sure first.
    """
    rows = np.flatnonzero(unlabelled)
    return rows[np.argsort(margins(taught.probabilities[rows]), kind="stable")]


def taken_for(taught: Taught, name: str, unlabelled: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Find unlabelled images that are predicted to be of a class.

    Args:
        taught: The predictions.
        name: The class.
        unlabelled: bool (n,).

    Returns:
        int64 rows, the surest first.
    """
    number = taught.probe.classes.index(name)
    rows = np.flatnonzero(unlabelled & (taught.predicted == number))
    return rows[np.argsort(-taught.probabilities[rows, number], kind="stable")]


def misread(taught: Taught, cell: tuple[int, int] | None = None) -> NDArray[np.int64]:
    """Find labelled images that cross-validation predicted wrongly.

    Args:
        taught: The predictions.
        cell: Row and column of the confusion matrix; None for all.

    Returns:
        int64 rows.
    """
    checked = taught.checked
    if checked is None:
        return np.zeros(0, np.int64)
    if cell is None:
        found = checked.truth != checked.predicted
    else:
        found = (checked.truth == cell[0]) & (checked.predicted == cell[1])
    return taught.rows[checked.rows[found]]


def labelled(taught_rows: Sequence[int], labels: Sequence[str], name: str | None) -> list[int]:
    """Find labelled images, class by class.

    Args:
        taught_rows: Rows of the labelled images.
        labels: Their labels.
        name: A class; None for all.

    Returns:
        The rows.
    """
    pairs = sorted(zip(labels, taught_rows, strict=True))
    return [row for label, row in pairs if name is None or label == name]
