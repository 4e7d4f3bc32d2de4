"""Which images to label first: rows of vectors, in the order in which they should be labelled.

All functions take the same arguments: vectors of all images, the rows that may be chosen, and the rows that are chosen
or labelled already. Nothing here needs memory for n x n numbers.
"""

import heapq
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..check.outliers import neighbours
from ..explore.clusters import STARTS, cluster

MOST_CLUSTERS = 500  # as in TypiClust; of more images, several come from a cluster
NEIGHBOURS = 20  # of an image in its cluster, for its typicality
MOST_REFERENCES = 2000  # images of a cluster among which neighbours are searched
SMALL = 5  # images; smaller clusters come last (TypiClust leaves them out)

Rows = NDArray[np.int64]


class Picks(NamedTuple):
    """Chosen rows.

    Attributes:
        rows: int64 (n,), the most useful first.
        scores: float32 (n,); see the strategy.
        reasons: Why each was chosen, (n,).
    """

    rows: Rows
    scores: NDArray[np.float32]
    reasons: list[str]


def at_random(candidates: Rows, count: int, seed: int) -> Picks:
    """Choose rows at random.

    Args:
        candidates: Rows that may be chosen.
        count: How many, at most ``len(candidates)``.
        seed: Of the draw.

    Returns:
        The rows; scores are 0.
    """
    rows = np.random.default_rng(seed).permutation(candidates)[:count]
    return Picks(rows, np.zeros(len(rows), np.float32), ["drawn at random"] * len(rows))


def diverse(vectors: NDArray[np.float32], candidates: Rows, known: Rows, count: int) -> Picks:
    """Choose the row that is farthest from all chosen ones, again and again (k-centre greedy, Sener & Savarese 2018).

    The first row is the one nearest the mean of the candidates, unless some are known. Time n x (count + known).

    Args:
        vectors: Unit vectors, float32 (n, dim).
        candidates: Rows that may be chosen, ascending.
        known: Rows that are chosen or labelled already.
        count: How many, at most ``len(candidates)``.

    Returns:
        The rows; scores are the distances (1 - cosine) to the nearest row that was chosen before.
    """
    own = vectors if len(candidates) == len(vectors) else vectors[candidates]
    nearest = np.full(len(own), -2, np.float32)  # cosine with the nearest chosen row
    for start in range(0, len(known), 256):
        found = own @ vectors[known[start : start + 256]].T
        np.maximum(nearest, found.max(axis=1), out=nearest)
    places: list[int] = []
    scores: list[float] = []
    reasons: list[str] = []
    for _ in range(count):
        if not (places or len(known)):
            place = int((own @ own.mean(axis=0)).argmax())
            scores.append(1.0)
            reasons.append("nearest the mean of all")
        else:
            place = int(nearest.argmin())
            scores.append(1 - float(nearest[place]))
            reasons.append(f"its nearest chosen image has a cosine of {nearest[place]:.2f}")
        places.append(place)
        np.maximum(nearest, own @ own[place], out=nearest)
        nearest[place] = 2  # never again, even beside its copies
    return Picks(candidates[places], np.array(scores, np.float32), reasons)


def typical(vectors: NDArray[np.float32], candidates: Rows, known: Rows, count: int, seed: int) -> Picks:
    """Choose the most typical row of each cluster, the largest clusters without a known row first (TypiClust).

    Spherical k-means makes as many clusters as there are known and wanted rows, 500 at most. The typicality of a row is
    the inverse of the mean distance (1 - cosine) to its 20 nearest neighbours in its cluster (Hacohen et al. 2022,
    section 3.2; there with Euclidean distances).

    Args:
        vectors: Unit vectors, float32 (n, dim).
        candidates: Rows that may be chosen, ascending.
        known: Rows that are chosen or labelled already.
        count: How many, at most ``len(candidates)``.
        seed: Of k-means.

    Returns:
        The rows; scores are typicalities.
    """
    return _of_clusters(vectors, candidates, known, count, seed, _typicality)


def central(vectors: NDArray[np.float32], candidates: Rows, known: Rows, count: int, seed: int) -> Picks:
    """Choose the row nearest the centre of each cluster; otherwise as ``typical``.

    Args:
        vectors: See ``typical``.
        candidates: See ``typical``.
        known: See ``typical``.
        count: See ``typical``.
        seed: See ``typical``.

    Returns:
        The rows; scores are cosines with the centre of their cluster.
    """
    return _of_clusters(vectors, candidates, known, count, seed, None)


def _of_clusters(
    vectors: NDArray[np.float32],
    candidates: Rows,
    known: Rows,
    count: int,
    seed: int,
    score: Callable[[NDArray[np.float32], int], NDArray[np.float32]] | None,
) -> Picks:
    both = np.union1d(candidates, known)
    own = vectors if len(both) == len(vectors) else vectors[both]
    k = min(count + len(known), MOST_CLUSTERS, len(both))
    found = cluster(both, own, k, seed=seed, starts=STARTS if k <= 100 else 1)
    allowed, covered = np.isin(both, candidates), np.isin(both, known)
    allowed &= ~covered
    order = np.argsort(found.numbers, kind="stable")
    ends = np.cumsum(found.sizes)
    queues: list[list[tuple[float, int]]] = []
    waiting: list[tuple[int, bool, int, int]] = []
    for number, end in enumerate(ends.tolist()):
        members = order[end - int(found.sizes[number]) : end]
        free = members[allowed[members]]
        values = found.cosines[free] if score is None else score(own[members], seed)[allowed[members]]
        best = np.argsort(-values, kind="stable")[:count]
        queues.append([(float(values[place]), int(free[place])) for place in best][::-1])
        if len(free):
            waiting.append((int(covered[members].sum()), len(members) < SMALL, -len(members), number))
    heapq.heapify(waiting)
    rows: list[int] = []
    scores: list[float] = []
    reasons: list[str] = []
    while len(rows) < count:
        chosen, small, size, number = heapq.heappop(waiting)
        value, place = queues[number].pop()
        rows.append(int(both[place]))
        scores.append(value)
        reasons.append("unlike all others" if size == -1 else f"stands for {-size} images like it")
        if queues[number]:
            heapq.heappush(waiting, (chosen + 1, small, size, number))
    return Picks(np.array(rows, np.int64), np.array(scores, np.float32), reasons)


def _typicality(members: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """Of the images of one cluster."""
    if len(members) < 2:
        return np.zeros(len(members), np.float32)
    drawn = np.arange(len(members))
    if len(drawn) > MOST_REFERENCES:
        drawn = np.sort(np.random.default_rng(seed).choice(drawn, MOST_REFERENCES, replace=False))
    distances, _ = neighbours(members, drawn, min(NEIGHBOURS, len(drawn) - 1))
    return 1 / np.maximum(distances.mean(axis=1), np.float32(1e-6))
