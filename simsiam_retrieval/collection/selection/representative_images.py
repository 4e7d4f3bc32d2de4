"""Images that stand for all others, by the neighbours that images share."""

import heapq
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..check.outliers import neighbours
from ..explore.few_shot_classifier import LinearProbe
from .strategies import Picks, Rows
from .uncertain_images import judged

NEIGHBOURS = 15  # of an image in the graph; chosen on Imagenette (benchmarks/selection.py); of few images fewer, so
# that a small group is not joined to others
COPY = 1e-5  # distance (1 - cosine) up to which two vectors differ by rounding only
HEAVIEST = 2.0  # times the usual weight; so that a burst does not count as nothing, nor an oddity as a crowd
DRAWN = 10_000  # images at most that a round chooses from, and chosen or labelled ones at most that it remembers
ROUND = 2_000  # images that are chosen before others are drawn
_DIGITS = 9  # of a gain; sums of equal parts in another order differ beyond
_BLOCK = 256  # images whose kernel is computed at once


def representative(
    vectors: NDArray[np.float32],
    candidates: Rows,
    known: Rows,
    count: int,
    seed: int,
    probe: LinearProbe | None = None,
) -> Picks:
    """Choose rows that share neighbours with as many images as possible: the row that brings most, again and again.

    The kernel of two images is the weight of the walks of two steps between them, in the graph of the 15 nearest
    neighbours of each image (of n < 225 images, the square root of n). The weighted sum over all images of the
    largest kernel with a chosen or known row is maximised greedily (facility location), which reaches at least 63 %
    of the best sum (Nemhauser et al. 1978); lazily (Minoux 1978), so that few sums are computed again. The weight of
    an image is the square root of the mean distance to its neighbours (half to twice the median), so that a dense
    crowd does not outweigh all others; with a probe, times 1 minus the probe's margin: what it is sure of needs no
    more labels. Copies of an image are one image, and are chosen last. Of equal rows the first is chosen. Of more
    than 10,000 candidates 10,000 are drawn, anew every 2,000 rows.

    Args:
        vectors: Unit vectors, float32 (n, dim).
        candidates: Rows that may be chosen, ascending.
        known: Rows that are chosen or labelled already.
        count: How many, at most ``len(candidates)``.
        seed: Of the draws.
        probe: A probe of at least two classes, taught by the known rows.

    Returns:
        The rows; scores are the gains of the weighted mean over the images, 0 for a copy of a row that was chosen
        before.
    """
    generator = np.random.default_rng(seed)
    known = np.asarray(known, np.int64)
    rows: list[int] = []
    scores: list[float] = []
    reasons: list[str] = []
    while len(rows) < count:
        done = np.concatenate([known, np.array(rows, np.int64)])
        free = np.setdiff1d(candidates, done)
        pool = _drawn(free, generator)
        graph = _graph(vectors, pool, _drawn(done, generator), probe)
        found = _greedy(graph, min(count - len(rows), ROUND))
        if not found.images:  # copies of chosen ones are left
            rest = free[: count - len(rows)].tolist()
            rows, scores = rows + rest, scores + [0.0] * len(rest)
            reasons += ["a copy of an image that was chosen before"] * len(rest)
            break
        rows += graph.rows[found.images].tolist()
        scores += [gain / len(graph.rows) for gain in found.gains]
        owned = found.owners >= 0
        stands_for = np.bincount(found.owners[owned], graph.sizes[owned], len(graph.rows))[found.images]
        reasons += [_reason(of * len(free) / len(pool)) for of in stands_for.tolist()]
    return Picks(np.array(rows, np.int64), np.array(scores, np.float32), reasons)


def _reason(stands_for: float) -> str:
    return "few images are like it" if stands_for < 1.5 else f"stands for {stands_for:.0f} images like it"


def _drawn(rows: Rows, generator: np.random.Generator) -> Rows:
    return rows if len(rows) <= DRAWN else np.sort(generator.choice(rows, DRAWN, replace=False))


class _Graph(NamedTuple):
    """Images, copies counted once, and how a walk steps from one to another."""

    rows: Rows  # (n,) of the images; of copies, the first that may be chosen
    free: NDArray[np.bool_]  # (n,) may be chosen
    done: NDArray[np.bool_]  # (n,) chosen or labelled already
    weights: NDArray[np.float64]  # (n,) of the images in the sum; their mean is 1
    sizes: NDArray[np.int64]  # (n,) copies of each, itself included
    walk: Any  # D^-1/2 A D^-1/2, a sparse matrix (n, n) of float64; its square is the kernel


def _graph(vectors: NDArray[np.float32], pool: Rows, done: Rows, probe: LinearProbe | None) -> _Graph:
    nodes = np.concatenate([pool, done])  # in this order, so that a row of the pool is the first of its copies
    own = np.ascontiguousarray(vectors[nodes])
    nearest, places = _nearest(own)
    firsts = _firsts(nearest, places)
    of = np.flatnonzero(firsts == np.arange(len(nodes)))
    if len(of) < len(nodes):
        nearest, places = _nearest(own[of])
    is_done = np.zeros(len(nodes), np.bool_)
    is_done[firsts[len(pool) :]] = True
    weights = _weights(nearest, None if probe is None else judged(probe, vectors, nodes[of])[1])
    return _Graph(
        nodes[of], ~is_done[of] & (of < len(pool)), is_done[of], weights, np.bincount(firsts)[of], _walk(places)
    )


def _weights(distances: NDArray[np.float32], margins: NDArray[np.float32] | None) -> NDArray[np.float64]:
    found = np.ones(len(distances))
    if distances.size:
        found = np.sqrt(distances.mean(axis=1, dtype=np.float64))
        usual = np.median(found)
        found = found.clip(usual / HEAVIEST, usual * HEAVIEST)
    if margins is not None:
        found = found * (1 - margins)
    mean = found.mean()
    return found / mean if mean > 0 else np.ones(len(distances))


def _nearest(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float32], Rows]:
    if len(vectors) < 2:
        return np.zeros((len(vectors), 0), np.float32), np.zeros((len(vectors), 0), np.int64)
    return neighbours(vectors, np.arange(len(vectors)), min(NEIGHBOURS, math.isqrt(len(vectors))))


def _joined(places: Rows, kept: NDArray[np.bool_] | None = None) -> Any:
    """The edges from each image to its neighbours, in both directions: a sparse matrix of ones."""
    from scipy.sparse import csr_array  # 0.1 s

    size = len(places)
    starts, ends = np.repeat(np.arange(size), places.shape[1]), places.ravel()
    if kept is not None:
        starts, ends = starts[kept.ravel()], ends[kept.ravel()]
    edges = csr_array((np.ones(len(starts)), (starts, ends)), shape=(size, size))
    return edges.maximum(edges.T)


def _firsts(distances: NDArray[np.float32], places: Rows) -> Rows:
    """The first copy of each image, itself if there is none before."""
    from scipy.sparse.csgraph import connected_components

    same = distances <= COPY
    if not same.any():
        return np.arange(len(places))
    _, groups = connected_components(_joined(places, same), directed=False)
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    return first[inverse]


def _walk(places: Rows) -> Any:
    from scipy.sparse import csr_array, diags_array

    if not places.size:
        return csr_array(np.eye(len(places)))
    joined = _joined(places)
    scale = diags_array(joined.sum(axis=1) ** -0.5)
    return csr_array(scale @ joined @ scale)


class _Found(NamedTuple):
    images: list[int]  # positions in the graph
    gains: list[float]
    owners: Rows  # (n,) the chosen image whose kernel with an image is largest; -1: a known one's, or none


def _greedy(graph: _Graph, count: int) -> _Found:
    walk, size = graph.walk, len(graph.rows)
    covered = np.zeros(size)
    known = np.flatnonzero(graph.done)
    for start in range(0, len(known), _BLOCK):
        kernel = walk[known[start : start + _BLOCK]] @ walk
        np.maximum(covered, kernel.max(axis=0).toarray().ravel(), out=covered)
    free = np.flatnonzero(graph.free)
    # a gain never grows when others are chosen, so an old one is an upper bound
    queue: list[tuple[float, int, int]] = []
    for start in range(0, len(free), _BLOCK):
        block = free[start : start + _BLOCK]
        kernel = walk[block] @ walk
        more = np.maximum(kernel.data - covered[kernel.indices], 0) * graph.weights[kernel.indices]
        gains = np.add.reduceat(more, kernel.indptr[:-1]).round(_DIGITS)
        queue += zip((-gains).tolist(), block.tolist(), [0] * len(block), strict=True)
    heapq.heapify(queue)
    images: list[int] = []
    gained: list[float] = []
    owners = np.full(size, -1)
    while queue and len(images) < count:
        bound, image, asked = heapq.heappop(queue)
        kernel = walk[[image]] @ walk
        more = kernel.data - covered[kernel.indices]
        if asked < len(images):
            gain = (np.maximum(more, 0) * graph.weights[kernel.indices]).sum().round(_DIGITS)
            heapq.heappush(queue, (-float(gain), image, len(images)))
            continue
        images.append(image)
        gained.append(-bound)
        better = kernel.indices[more > 0]
        covered[better], owners[better] = kernel.data[more > 0], image
    return _Found(images, gained, owners)
