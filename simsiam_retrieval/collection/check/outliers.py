"""How dissimilar an image is from all others: by the spread of all vectors, or by its neighbours."""

import numpy as np
from numpy.typing import NDArray

REFERENCES = 20_000  # largest number of images among which neighbours are searched; of more, a random sample is used
NEIGHBOURS = 20
METHODS = ("mahalanobis", "distance", "lof", "typicality")
SHRINKAGE = 5.0  # of the covariance, in mean variances; chosen on Imagenette (benchmarks/check.py)
SEED = 0
_SAME = 1e-12  # mean variance up to which vectors differ by rounding only
_BLOCK = 4096  # images that are compared at once


def outlier_scores(
    vectors: NDArray[np.float32], method: str = "mahalanobis", *, k: int = NEIGHBOURS
) -> NDArray[np.float32]:
    """Compute outlier scores; the most dissimilar images have the highest.

    The methods:

    - ``mahalanobis``: the distance to the mean of all vectors, measured by their covariance plus five times its mean
      variance on the diagonal (for features of networks: Lee et al. 2018, section 2.1). ``k`` is not used.
    - ``distance``: the distance to the ``k``-th neighbour (Ramaswamy et al. 2000).
    - ``lof``: the local outlier factor (Breunig et al. 2000): how much sparser the neighbourhood is than the
      neighbours' own.
    - ``typicality``: minus the inverse of the mean distance to ``k`` neighbours (Hacohen et al. 2022, section 3.2).

    Distances to neighbours are 1 - cosine to the nearest of up to 20,000 random images. So time grows with n, and
    memory with n x k.

    Args:
        vectors: Unit vectors, float32 (n, dim), n >= 2.
        method: One of ``METHODS``.
        k: Number of neighbours.

    Returns:
        float32 (n,).

    Raises:
        ValueError: The method is unknown, or there are fewer than two vectors.
    """
    if method not in METHODS:
        raise ValueError(f"{method}: no such method; there are {', '.join(METHODS)}")
    if len(vectors) < 2:
        raise ValueError("a single image has no neighbours")
    if method == "mahalanobis":
        return _mahalanobis(vectors)
    if len(vectors) <= REFERENCES:
        drawn = np.arange(len(vectors))
    else:
        drawn = np.sort(np.random.default_rng(SEED).choice(len(vectors), REFERENCES, replace=False))
    k = min(k, len(drawn) - 1)
    distances, places = neighbours(vectors, drawn, k)
    if method == "distance":
        return distances[:, -1]
    if method == "typicality":
        return -1 / np.maximum(distances.mean(axis=1), 1e-6)
    reach = distances[drawn, -1]  # distances of the references to their own k-th neighbour
    density = 1 / np.maximum(np.maximum(distances, reach[places]).mean(axis=1), 1e-6)
    return density[drawn][places].mean(axis=1) / density


def _mahalanobis(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    dim = vectors.shape[1]
    mean = vectors.mean(axis=0, dtype=np.float64)
    covariance = np.zeros((dim, dim))
    for start in range(0, len(vectors), _BLOCK):
        centred = vectors[start : start + _BLOCK] - mean
        covariance += centred.T @ centred / len(vectors)
    variance = np.trace(covariance) / dim
    distances = np.zeros(len(vectors), np.float32)
    if variance <= _SAME:
        return distances
    inverse = np.linalg.inv(covariance + SHRINKAGE * variance * np.eye(dim))
    for start in range(0, len(vectors), _BLOCK):
        centred = vectors[start : start + _BLOCK] - mean
        distances[start : start + _BLOCK] = np.sqrt(((centred @ inverse) * centred).sum(axis=1))
    return distances


def neighbours(
    vectors: NDArray[np.float32], drawn: NDArray[np.int64], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Find the nearest references of each vector, without itself. Copies of an image count as neighbours.

    Args:
        vectors: Unit vectors, float32 (n, dim).
        drawn: Rows of the references, int64 (m,).
        k: Number of neighbours.

    Returns:
        Distances, float32 (n, k), ascending, and positions in ``drawn``, int64 (n, k).
    """
    from ..index import faiss_when_used as faiss  # with the same limits in every process

    references = np.ascontiguousarray(vectors[drawn])
    own = np.full(len(vectors), -1)
    own[drawn] = np.arange(len(drawn))
    distances = np.empty((len(vectors), k), np.float32)
    places = np.empty((len(vectors), k), np.int64)
    for start in range(0, len(vectors), _BLOCK):
        block = slice(start, start + _BLOCK)
        cosines, found = faiss.knn(vectors[block], references, k + 1, metric=faiss.METRIC_INNER_PRODUCT)
        itself = found == own[block][:, None]
        itself[~itself.any(axis=1), -1] = True  # not a reference, or hidden by its copies: drop the farthest
        distances[block] = 1 - cosines[~itself].reshape(-1, k)
        places[block] = found[~itself].reshape(-1, k)
    return np.maximum(distances, 0), places
