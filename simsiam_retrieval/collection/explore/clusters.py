"""Clusters of similar images: spherical k-means (Dhillon and Modha 2001) by FAISS."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..storage.derived_files import load_arrays, save_arrays

if TYPE_CHECKING:
    import faiss
else:
    from ..index import faiss_when_used as faiss  # with the same limits in every process: maps are to be equal

SEED = 1234
ITERATIONS = 25
STARTS = 3  # random starts; the best result is kept


@dataclass(frozen=True)
class Clusters:
    """The cluster of each image, and how typical it is. The largest cluster is number 0.

    Attributes:
        ids: (n,).
        numbers: (n,), from 0.
        cosines: (n,), with the centre of its cluster.
    """

    ids: NDArray[np.int64]
    numbers: NDArray[np.int32]
    cosines: NDArray[np.float32]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Images in each cluster, (k,)."""
        return np.bincount(self.numbers)

    def members(self, number: int) -> NDArray[np.int64]:
        """Return the images of a cluster.

        Args:
            number: Number of the cluster.

        Returns:
            Ids, the most typical first.
        """
        rows = np.flatnonzero(self.numbers == number)
        return self.ids[rows[np.argsort(-self.cosines[rows], kind="stable")]]


def cluster(
    ids: NDArray[np.int64], vectors: NDArray[np.float32], k: int, *, seed: int = SEED, starts: int = STARTS
) -> Clusters:
    """Divide unit vectors into clusters. Deterministic.

    For large n FAISS learns the centres from 256 images per cluster; then all images are assigned to them.

    Args:
        ids: int64 (n,).
        vectors: Unit vectors, float32 (n, dim).
        k: Number of clusters at most.
        seed: Of the random starts.
        starts: Number of random starts; the best result is kept.

    Returns:
        The clusters.

    Raises:
        ValueError: ``k`` is out of range.
    """
    if not 1 <= k <= len(ids):
        raise ValueError(f"{k} clusters of {len(ids)} images")
    vectors = np.ascontiguousarray(vectors, np.float32)
    means = faiss.Kmeans(
        vectors.shape[1], k, niter=ITERATIONS, nredo=starts, seed=seed, spherical=True, min_points_per_centroid=1
    )
    means.train(vectors)
    cosines, numbers = means.index.search(vectors, 1)
    present, numbers, sizes = np.unique(numbers[:, 0], return_inverse=True, return_counts=True)
    rank = np.empty(len(present), np.int32)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(present))
    return Clusters(ids, rank[numbers], cosines[:, 0])


def stored_clusters(
    folder: Path, generation: int, ids: NDArray[np.int64], vectors: NDArray[np.float32], k: int
) -> Clusters:
    """Read clusters from the file next to the catalog, or compute and store them.

    Args:
        folder: The collection's folder.
        generation: The generation.
        ids: int64 (n,).
        vectors: Unit vectors, float32 (n, dim).
        k: Number of clusters at most.

    Returns:
        The clusters.
    """
    file = folder / f"clusters-{generation}-{k}.npz"
    held = load_arrays(file, ("ids", "numbers", "cosines"))
    if held is not None and np.array_equal(held["ids"], ids):
        numbers, cosines = held["numbers"], held["cosines"]
        numeric = numbers.dtype.kind == "i" and cosines.dtype.kind == "f"
        if numeric and numbers.shape == cosines.shape == ids.shape and ((numbers >= 0) & (numbers < k)).all():
            return Clusters(ids, numbers.astype(np.int32), cosines.astype(np.float32))
    found = cluster(ids, vectors, k)
    old = [path for path in folder.glob("clusters-*.npz") if not path.name.startswith(f"clusters-{generation}-")]
    save_arrays(file, {"ids": found.ids, "numbers": found.numbers, "cosines": found.cosines}, old)
    return found
