"""All pairs of vectors that are close to each other, found once: groups at any higher threshold then take no search."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .follow_leaders import COLUMNS, ROUNDING, ROWS

MOST = 2_000_000  # pairs that are kept: 24 MB


@dataclass(frozen=True)
class Pairs:
    """Pairs of rows with their cosines, sorted by ``right``, then ``left``."""

    left: NDArray[np.int32]  # (p,), below right
    right: NDArray[np.int32]  # (p,)
    cosine: NDArray[np.float32]  # (p,)
    least: float  # all pairs of this cosine or more are here; above 1 where even equal vectors are too many


def near_pairs(
    vectors: NDArray[np.float32],
    least: float,
    on_progress: Callable[[int], None] = lambda rows: None,
    most: int = MOST,
) -> Pairs:
    """Find the pairs of ``vectors`` (n, dim), rows of unit length, with a cosine of at least ``least``.

    Where there are more than ``most``, the closest of them, and ``least`` rises accordingly. Needs about 100 MiB for
    blocks beside the pairs. ``on_progress`` is told how many more rows are done.
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
    """The at most ``most`` closest pairs, and the cosine that bounds them: equal ones stay or go together."""
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
    """What :func:`~.grouping.follow_leaders` returns for the ``count`` vectors of ``pairs``, without their vectors.

    ``threshold`` must be ``pairs.least`` or more. Time grows with the pairs that reach it.
    """
    if threshold < pairs.least:
        raise ValueError(f"pairs are known from {pairs.least} on, not from {threshold}")
    near = pairs.cosine >= np.float32(threshold - ROUNDING)
    left, right, cosine = pairs.left[near], pairs.right[near], pairs.cosine[near]
    leading = bytearray(b"\1") * count
    for one, other in zip(left.tolist(), right.tolist(), strict=True):  # in the order of the second: firsts are settled
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
