"""Images that a probe cannot decide about, for labelling them next."""

import numpy as np
from numpy.typing import NDArray

from ..explore.clusters import cluster
from ..explore.few_shot_classifier import LinearProbe
from .strategies import MOST_CLUSTERS, Picks, Rows

DOUBTFUL = 10  # times as many uncertain images as are wanted are divided into clusters
_BLOCK = 65_536  # rows that a probe judges at once


def uncertain(
    vectors: NDArray[np.float32], candidates: Rows, known: Rows, count: int, seed: int, probe: LinearProbe
) -> Picks:
    """Choose rows between whose two likeliest classes a probe can hardly decide, from different clusters.

    The ten times as many rows with the smallest margins are divided into clusters, and of each the row with the
    smallest margin is chosen (as Zhdanov 2019), so that the choice holds no near-duplicates.

    Args:
        vectors: Unit vectors, float32 (n, dim).
        candidates: Rows that may be chosen, ascending.
        known: Rows that are chosen or labelled already.
        count: How many, at most ``len(candidates)``.
        seed: Of k-means.
        probe: A probe of at least two classes.

    Returns:
        The rows; scores are 1 minus the margin.
    """
    free = np.setdiff1d(candidates, known)
    best, margin = judged(probe, vectors, free)
    doubtful = np.sort(np.argsort(margin, kind="stable")[: max(count, min(DOUBTFUL * count, len(free)))])
    own = vectors[free[doubtful]]
    found = cluster(doubtful, own, min(count, MOST_CLUSTERS), seed=seed, starts=1)
    order = np.lexsort((margin[doubtful], found.numbers))
    firsts = np.r_[0, np.cumsum(found.sizes)[:-1]]
    turns = np.empty(len(order), np.int64)  # 0 for the least sure image of each cluster, 1 for the second, ...
    turns[order] = np.arange(len(order)) - np.repeat(firsts, found.sizes)
    places = doubtful[np.lexsort((margin[doubtful], turns))[:count]]
    reasons = [f"a probe says {probe.classes[best[place]]}, with a margin of {margin[place]:.2f}" for place in places]
    return Picks(free[places], (1 - margin[places]).astype(np.float32), reasons)


def judged(
    probe: LinearProbe, vectors: NDArray[np.float32], rows: Rows
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Ask a probe about rows, in blocks.

    Args:
        probe: The probe.
        vectors: Unit vectors, float32 (n, dim).
        rows: Rows, (m,).

    Returns:
        The likeliest class, index into the probe's classes, (m,), and its probability minus the second's, (m,).
    """
    from ..explore.few_shot_classifier import margins

    best = np.empty(len(rows), np.int64)
    margin = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), _BLOCK):
        block = slice(start, start + _BLOCK)
        probabilities = probe.probabilities(vectors[rows[block]])
        best[block], margin[block] = probabilities.argmax(axis=1), margins(probabilities)
    return best, margin
