"""Vectors that lie as those of photos do, for ``scale_simulation.py``: statistics of real ones, and the generator."""

from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

CLUSTERS, CLUSTER_SIZE = 45, 1000
DIM = 256  # values of a vector

Vectors = NDArray[np.float32]


class Generator:
    """Vectors that lie as those of photos do; block ``number`` is the same whenever it is drawn."""

    def __init__(self, statistics: dict, count: int, seed: int) -> None:
        self._mean, between, within = (np.array(statistics[name], np.float32) for name in ("mean", "between", "within"))
        self._seed, self._within = seed, np.sqrt(within)
        draw = np.random.default_rng(seed)
        centres = draw.standard_normal((max(1, count // CLUSTER_SIZE), DIM), np.float32)
        self._centres = centres * np.sqrt(between)
        self._rotation = np.linalg.qr(draw.standard_normal((DIM, DIM)))[0].astype(np.float32)

    def block(self, number: int, rows: int, *, rotated: bool = True) -> Vectors:
        """Unit vectors (rows, DIM); ``rotated=False`` leaves out the rotation, which changes no cosine."""
        draw = np.random.default_rng([self._seed, number])
        vectors = draw.standard_normal((rows, DIM), np.float32)
        vectors *= self._within
        vectors += self._mean + self._centres[draw.integers(0, len(self._centres), rows)]
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors @ self._rotation if rotated else vectors


def statistics(photos: Path) -> dict:
    from simsiam_retrieval import load_encoder

    files = sorted(path for path in photos.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    encoder = load_encoder(device="cpu")
    real = np.concatenate([encoder.embed(files[start : start + 64]) for start in range(0, len(files), 64)])
    mean = real.mean(0)
    values, axes = np.linalg.eigh(np.cov(real.T))
    kept = axes[:, ::-1][:, :DIM]  # strongest first
    kmeans = faiss.Kmeans(real.shape[1], CLUSTERS, niter=30, nredo=5, seed=1)
    kmeans.train(real)
    assert kmeans.centroids is not None
    label = kmeans.index.search(real, 1)[1][:, 0]
    centres = np.stack([real[label == cluster].mean(0) for cluster in range(CLUSTERS)])[label]
    between, within = ((centres - mean) @ kept).var(0), ((real - centres) @ kept).var(0)
    found = {
        "photos": len(files),
        "folder": photos.name,
        "encoder": encoder.identity,
        "values": real.shape[1],
        "kept": DIM,
        "variance_kept": float(values[::-1][:DIM].sum() / values.sum()),
        "within_share": float(within.sum() / (within + between).sum()),
        "participation_ratio": float(values.sum() ** 2 / (values**2).sum()),
        "mean": (mean @ kept).tolist(),
        "between": between.tolist(),
        "within": within.tolist(),
    }
    generated = Generator(found, CLUSTERS * CLUSTER_SIZE, seed=1).block(0, len(files))
    found["compared"] = {"real": cosines(real), "generated": cosines(generated)}
    return found


def cosines(vectors: Vectors) -> dict[str, float]:
    """Quantiles of the cosines of random pairs, and of every vector's nearest neighbour."""
    products = vectors @ vectors.T
    pairs = products[np.triu_indices(len(vectors), 1)]
    np.fill_diagonal(products, -1)
    nearest = products.max(1)
    return {
        "pairs, median": round(float(np.median(pairs)), 4),
        "pairs, 99.9 %": round(float(np.quantile(pairs, 0.999)), 4),
        "nearest, 10 %": round(float(np.quantile(nearest, 0.1)), 4),
        "nearest, median": round(float(np.median(nearest)), 4),
        "nearest, 90 %": round(float(np.quantile(nearest, 0.9)), 4),
    }
