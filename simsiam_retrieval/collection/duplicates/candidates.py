"""Pairs of pictures that are worth comparing by their pixels."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .near_pairs import Pairs

PARTNERS = 8  # pictures before it with which each picture is compared by pixels, the closest first
LISTED = 32  # pictures before it that each picture may be listed with
REGION_PARTNERS = 6  # regions of other pictures, each of them in a picture of its own
BLOCK = 1024


def closest_before(
    pairs: Pairs, allowed: Callable[[NDArray, NDArray], NDArray[np.bool_]]
) -> dict[int, list[tuple[int, float]]]:
    """Choose for each row the ``LISTED`` closest rows before it.

    Args:
        pairs: Near pairs.
        allowed: Tells of rows (left, right) which pairs count.

    Returns:
        Row -> earlier rows and cosines, the closest first.
    """
    counts = allowed(pairs.left, pairs.right)
    left, right, cosine = pairs.left[counts], pairs.right[counts], pairs.cosine[counts]
    order = np.lexsort((left, -cosine, right))
    left, right, cosine = left[order], right[order], cosine[order]
    starts = np.flatnonzero(np.r_[True, right[1:] != right[:-1]]) if len(right) else np.empty(0, np.int64)
    kept = np.arange(len(right)) - np.repeat(starts, np.diff(np.r_[starts, len(right)])) < LISTED
    found: dict[int, list[tuple[int, float]]] = {}
    for one, other, value in zip(left[kept].tolist(), right[kept].tolist(), cosine[kept].tolist(), strict=True):
        found.setdefault(other, []).append((one, value))
    return found


def region_pairs(
    vectors: NDArray[np.float32],
    regions: NDArray[np.float32],
    owners: NDArray[np.int64],
    least: float,
    on_progress: Callable[[int], None] = lambda rows: None,
) -> dict[tuple[int, int], float]:
    """Find pictures that are similar to a region of another one.

    Args:
        vectors: Vectors of whole pictures, float32 (n, dim).
        regions: Vectors of regions, float32 (m, dim).
        owners: Row of the picture that each region is a part of, int64 (m,).
        least: Lowest cosine.
        on_progress: Called with the number of further pictures that were compared.

    Returns:
        Pair of rows, the lower one first -> highest cosine.
    """
    from ..index import faiss_when_used as faiss

    found: dict[tuple[int, int], float] = {}
    if not len(regions):
        return found
    count = min(len(regions), 4 * REGION_PARTNERS)  # several regions of one picture are among the nearest
    for start in range(0, len(vectors), BLOCK):
        block = np.ascontiguousarray(vectors[start : start + BLOCK])
        cosines, nearest = faiss.knn(block, regions, count, metric=faiss.METRIC_INNER_PRODUCT)
        for row, (values, places) in enumerate(zip(cosines, nearest, strict=True), start):
            others: dict[int, float] = {}
            for value, place in zip(values.tolist(), places.tolist(), strict=True):
                other = int(owners[place]) if place >= 0 else row
                if value >= least and other != row and len(others) < REGION_PARTNERS:
                    others.setdefault(other, value)
            for other, value in others.items():
                pair = (min(row, other), max(row, other))
                found[pair] = max(found.get(pair, -1.0), value)
        on_progress(len(block))
    return found
