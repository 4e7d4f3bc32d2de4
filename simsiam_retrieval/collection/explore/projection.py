"""A map of a collection: every image is a point in the plane, and similar images are close to each other (t-SNE).

openTSNE computes it: van der Maaten and Hinton 2008, with the interpolation of Linderman et al. 2019 for many points,
and started from the principal components as Kobak and Berens 2019 recommend. The neighbours come from FAISS.
"""

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...core.errors import UserError
from ..storage.derived_files import load_arrays, save_arrays

if TYPE_CHECKING:
    import faiss
else:
    from ..index import faiss_when_used as faiss  # with the same limits in every process: maps are to be equal

INSTALL = 'pip install "simsiam-retrieval[map]"'
SEED = 0
PERPLEXITY = 30  # approximate number of neighbours that influence a point
FEWEST = 10  # images; fewer are placed by their principal components
EARLY, LATE = 250, 500  # iterations with and without exaggeration; openTSNE's defaults
EVERY = 10  # iterations between two progress reports
SEARCHED = 0.3  # approximate fraction of the work for finding neighbours
ROWS = 1024  # vectors that are searched at once
BESIDE = 5  # neighbours that determine the position of a new image

OnProgress = Callable[[float], None]


class Cancelled(Exception):
    """An ``on_progress`` raises this to stop the work."""


@dataclass(frozen=True)
class Projection:
    """Images as points.

    Attributes:
        ids: (n,), ascending.
        points: (n, 2), in [-1, 1].
        placed: Number of images that were added after the computation and were put near their neighbours.
    """

    ids: NDArray[np.int64]
    points: NDArray[np.float32]
    placed: int = 0


def available() -> bool:
    """Return whether openTSNE is installed. Stored maps are shown without it.

    Returns:
        True if it is.
    """
    return importlib.util.find_spec("openTSNE") is not None


def project(vectors: NDArray[np.float32], on_progress: OnProgress = lambda done: None) -> NDArray[np.float32]:
    """Place unit vectors in the plane. Deterministic for one number of threads.

    Args:
        vectors: float32 (n, dim).
        on_progress: Called with the finished fraction; an exception that it raises ends the work.

    Returns:
        float32 (n, 2), in [-1, 1].

    Raises:
        UserError: openTSNE is not installed.
    """
    start = _principal(vectors)
    if len(vectors) < FEWEST:
        return _fitted(start)
    if not available():
        raise UserError(f"maps need openTSNE, which is not installed; install it with: {INSTALL}")
    from openTSNE import TSNEEmbedding  # takes most of a second
    from openTSNE.affinity import PerplexityBasedNN
    from openTSNE.nearest_neighbors import PrecomputedNeighbors

    jobs = max(1, (os.cpu_count() or 2) - 1)  # one core stays free for answering
    perplexity = min(PERPLEXITY, (len(vectors) - 1) // 3)
    neighbours, distances = _neighbours(vectors, 3 * perplexity, on_progress)
    affinities = PerplexityBasedNN(
        knn_index=PrecomputedNeighbors(neighbours, distances), perplexity=perplexity, n_jobs=jobs, random_state=SEED
    )
    raised: list[BaseException] = []

    def told(done: int) -> Callable[..., bool]:
        def look(iteration: int, *_: object) -> bool:
            # openTSNE stops by a return value, so the exception is raised later
            try:
                on_progress(SEARCHED + (1 - SEARCHED) * (done + iteration) / (EARLY + LATE))
            except BaseException as error:  # noqa: BLE001
                raised.append(error)
            return bool(raised)

        return look

    # scaled to 1e-4, as usual; a little noise separates equal points
    start = start / max(float(start[:, 0].std()), 1e-12) * 1e-4
    start = start + np.random.default_rng(SEED).normal(scale=1e-6, size=start.shape)
    embedding = TSNEEmbedding(start, affinities, n_jobs=jobs, random_state=SEED)
    for done, iterations, exaggeration, momentum in ((0, EARLY, 12, 0.5), (EARLY, LATE, 1, 0.8)):
        embedding.optimize(
            iterations,
            inplace=True,
            exaggeration=exaggeration,
            momentum=momentum,
            callbacks=[told(done)],
            callbacks_every_iters=EVERY,
        )
        if raised:
            raise raised[0]
    on_progress(1.0)
    return _fitted(np.asarray(embedding))


def _principal(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """The first two principal components, (n, 2); the signs are fixed."""
    found = np.zeros((len(vectors), 2))
    if len(vectors) > 1:
        mean = vectors.mean(axis=0)
        covariance = (vectors.T @ vectors).astype(float) - len(vectors) * np.outer(mean, mean).astype(float)
        _, axes = np.linalg.eigh(covariance)
        axes = axes[:, ::-1][:, :2]
        axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), range(axes.shape[1])] < 0, -1, 1)
        found[:, : axes.shape[1]] = (vectors - mean) @ axes
    return found


def _neighbours(
    vectors: NDArray[np.float32], k: int, on_progress: OnProgress
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows of the ``k`` nearest others of each vector, and their Euclidean distances, nearest first."""
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(np.ascontiguousarray(vectors))  # pyright: ignore[reportCallIssue]
    rows = np.empty((len(vectors), k), np.int64)
    cosines = np.empty((len(vectors), k), np.float32)
    for first in range(0, len(vectors), ROWS):
        on_progress(SEARCHED * first / len(vectors))
        found, near = index.search(vectors[first : first + ROWS], k + 1)  # pyright: ignore[reportCallIssue]
        own = near == np.arange(first, first + len(near))[:, None]
        own[~own.any(axis=1), -1] = True  # if copies hide the vector itself, one of them is left out instead
        rows[first : first + len(near)] = near[~own].reshape(-1, k)
        cosines[first : first + len(near)] = found[~own].reshape(-1, k)
    return rows, np.sqrt(np.maximum(2 - 2 * cosines.astype(float), 0))


def _fitted(points: NDArray[np.float64]) -> NDArray[np.float32]:
    """Move and scale ``points`` into [-1, 1], both axes alike."""
    if not len(points):
        return np.zeros((0, 2), np.float32)
    low, high = points.min(axis=0), points.max(axis=0)
    reach = float((high - low).max()) / 2
    return ((points - (low + high) / 2) / (reach or 1)).astype(np.float32)


def placed(stored: Projection, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> Projection | None:
    """Update a stored map to the current images.

    Images that are gone are left out. New images get the median position of their nearest neighbours on the map, where
    t-SNE itself would start them (Poličar et al. 2021).

    Args:
        stored: The stored map.
        ids: Ids of the current images, int64 (n,), ascending.
        vectors: Their unit vectors, float32 (n, dim).

    Returns:
        The map; None if no current image is on it.
    """
    known = np.isin(ids, stored.ids)
    new = int((~known).sum())
    if new == len(ids):
        return None
    points = np.empty((len(ids), 2), np.float32)
    points[known] = stored.points[np.searchsorted(stored.ids, ids[known])]
    if new:
        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(vectors[known])  # pyright: ignore[reportCallIssue]
        _, near = index.search(vectors[~known], min(BESIDE, len(ids) - new))  # pyright: ignore[reportCallIssue]
        points[~known] = np.median(points[known][near], axis=1)
    return Projection(ids, points, new)


def save(folder: Path, generation: int, encoder: str, projection: Projection) -> bool:
    """Store a map next to the catalog, and delete older ones.

    Args:
        folder: The collection's folder.
        generation: The generation.
        encoder: Identity of the encoder.
        projection: The map.

    Returns:
        False if the folder cannot be written.
    """
    arrays = {"ids": projection.ids, "points": projection.points, "encoder": np.array(encoder)}
    return save_arrays(folder / f"map-{generation}.npz", arrays, folder.glob("map-*.npz"))


def load(folder: Path, encoder: str) -> Projection | None:
    """Load the newest stored map.

    Args:
        folder: The collection's folder.
        encoder: Identity of the encoder.

    Returns:
        The map, or None.
    """
    for file in sorted(folder.glob("map-*.npz"), key=_generation, reverse=True):
        held = load_arrays(file, ("ids", "points", "encoder"))
        if held is None or str(held["encoder"]) != encoder:
            continue
        ids, points = held["ids"], held["points"]
        if ids.dtype.kind != "i" or points.dtype.kind != "f":
            continue
        if ids.ndim == 1 and points.shape == (len(ids), 2) and np.isfinite(points).all() and (np.diff(ids) > 0).all():
            return Projection(ids.astype(np.int64), points.astype(np.float32))
    return None


def _generation(file: Path) -> int:
    number = file.stem.partition("-")[2]
    return int(number) if number.isdecimal() else -1
