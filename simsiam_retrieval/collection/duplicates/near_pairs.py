"""All pairs of vectors that are close to each other, found once. Groups at a higher threshold then need no search."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .follow_leaders import COLUMNS, ROUNDING, ROWS

MOST = 2_000_000  # largest number of stored pairs: 24 MB


@dataclass(frozen=True)
class Pairs:
    """Pairs of rows with their cosines, sorted by ``right``, then ``left``.

    Attributes:
        left: int32 (p,), below ``right``.
        right: int32 (p,).
        cosine: float32 (p,).
        least: All pairs with this cosine or more are included; above 1 if even equal vectors are too many.
    """

    left: NDArray[np.int32]
    right: NDArray[np.int32]
    cosine: NDArray[np.float32]
    least: float


def near_pairs(
    vectors: NDArray[np.float32],
    least: float,
    on_progress: Callable[[int], None] = lambda rows: None,
    most: int = MOST,
) -> Pairs:
    """Find pairs of vectors with a minimum cosine. Needs about 100 MiB for blocks, in addition to the pairs.

    Args:
        vectors: Unit vectors, float32 (n, dim).
        least: Minimum cosine.
        on_progress: Called with the number of further rows that are done.
        most: Largest number of pairs; of more, the closest are kept, and ``least`` rises.

    Returns:
        The pairs.
    """
    count, bound = len(vectors), np.float32(least - ROUNDING)
    found: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]] = []
    held = 0
    for start in range(0, count, ROWS):
        block = vectors[start : start + ROWS]
        for first in range(start, count, COLUMNS):
            cosine = block @ vectors[first : first + COLUMNS].T
            near = cosine >= bound
            near &= np.arange(first, first + near.shape[1])[None] > np.arange(start, start + len(block))[:, None]
            rows, columns = near.nonzero()
            if not len(rows):
                continue
            found.append(((rows + start).astype(np.int32), (columns + first).astype(np.int32), cosine[rows, columns]))
            held += len(rows)
            if held > most:
                found, bound = _closest(found, most // 2)
                held = len(found[0][0])
        on_progress(len(block))
    left, right, cosine = _joined(found)
    order = np.lexsort((left, right))
    reached = least if bound == np.float32(least - ROUNDING) else float(bound) + ROUNDING
    return Pairs(left[order], right[order], cosine[order], reached)


def _closest(found: list, most: int) -> tuple[list, np.float32]:
    """The closest pairs, at most ``most``, and their lower bound: equal cosines are kept or dropped together."""
    left, right, cosine = _joined(found)
    last = np.partition(cosine, len(cosine) - most - 1)[len(cosine) - most - 1]
    kept = cosine > last
    return [(left[kept], right[kept], cosine[kept])], np.nextafter(last, np.float32(2))


def _joined(found: list) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    if not found:
        return np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32)
    left, right, cosine = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return left, right, cosine


def follow_among(pairs: Pairs, count: int, threshold: float) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Compute what ``follow_leaders`` returns from near pairs, without the vectors.

    Time grows with the number of pairs that reach the threshold.

    Args:
        pairs: The pairs.
        count: Number of vectors.
        threshold: Cosine, ``pairs.least`` or more.

    Returns:
        Row of each vector's leader, int64 (n,), and the cosine with it, float32 (n,).

    Raises:
        ValueError: The threshold is below ``pairs.least``.
    """
    if threshold < pairs.least:
        raise ValueError(f"pairs are known from {pairs.least} on, not from {threshold}")
    near = pairs.cosine >= np.float32(threshold - ROUNDING)
    left, right, cosine = pairs.left[near], pairs.right[near], pairs.cosine[near]
    leading = bytearray(b"\1") * count
    for one, other in zip(
        left.tolist(), right.tolist(), strict=True
    ):  # sorted by the second row, so the first row is already assigned
        if leading[one]:
            leading[other] = 0
    leads = np.frombuffer(bytes(leading), np.bool_)
    follows = leads[left] & ~leads[right]
    left, right, cosine = left[follows], right[follows], cosine[follows]
    order = np.lexsort((left, -cosine, right))
    followers, first = np.unique(right[order], return_index=True)
    leader, score = np.arange(count), np.ones(count, np.float32)
    leader[followers], score[followers] = left[order][first], cosine[order][first]
    return leader, np.clip(score, -1, 1)
