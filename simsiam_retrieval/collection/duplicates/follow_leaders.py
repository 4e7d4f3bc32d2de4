"""Groups of vectors that are close to a leader, found block by block."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

ROWS, COLUMNS = 1024, 8192  # a block of similarities is 32 MiB
ROUNDING = 2e-6  # float32 cosines of equal vectors can be smaller than 1 by this much


def follow_leaders(
    vectors: NDArray[np.float32],
    threshold: float,
    on_progress: Callable[[int], None] = lambda rows: None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Assign each vector to the most similar leader before it.

    A vector without an earlier leader of cosine >= ``threshold`` becomes a leader. So every follower is that close to
    its leader, and no two leaders are: a greedy maximal independent set in the given order. Groups do not chain, as
    connected components would. Needs about 100 MiB for blocks and 12 bytes per vector, for any number of similar pairs.

    Args:
        vectors: Unit vectors, float32 (n, dim), the preferred first.
        threshold: Cosine.
        on_progress: Called with the number of further rows that are done.

    Returns:
        Row of each vector's leader (its own for a leader), int64 (n,), and the cosine with it, float32 (n,).
    """
    count = len(vectors)
    least = np.float32(threshold - ROUNDING)
    leader = np.full(count, -1, np.int64)
    score = np.full(count, -np.inf, np.float32)

    def follow(similarity: NDArray[np.float32], rows: NDArray[np.int64], left: int) -> None:
        """Let the columns, vectors from ``left`` on, follow the best of the leaders ``rows``."""
        right = left + similarity.shape[1]
        best = similarity.max(axis=0)
        near = np.flatnonzero((best >= least) & (best > score[left:right]))
        leader[left + near] = rows[similarity[:, near].argmax(axis=0)]
        score[left + near] = best[near]

    for start in range(0, count, ROWS):
        stop = min(start + ROWS, count)
        block = vectors[start:stop]
        similarity = block @ block.T
        chosen = np.flatnonzero(_leaders(similarity, leader[start:stop] < 0, least))
        if len(chosen):
            rows = start + chosen
            within = similarity[chosen]  # not computed again, because rounding could then differ
            within[np.arange(stop - start)[None] <= chosen[:, None]] = -np.inf  # a leader gets only followers after it
            leader[rows], score[rows] = rows, 1
            follow(within, rows, start)
            leading = np.ascontiguousarray(block[chosen])
            for left in range(stop, count, COLUMNS):
                follow(leading @ vectors[left : left + COLUMNS].T, rows, left)
        on_progress(stop - start)
    return leader, np.clip(score, -1, 1)


def _leaders(similarity: NDArray[np.float32], free: NDArray[np.bool_], least: np.float32) -> NDArray[np.bool_]:
    """Which vectors of a block become leaders; ``free`` are those without an earlier leader."""
    leads = free.copy()
    close = np.triu(similarity >= least, 1)
    for row in np.flatnonzero(close.any(axis=1)):
        if leads[row]:
            leads[close[row]] = False
    return leads
