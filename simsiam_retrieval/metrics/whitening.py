"""PCA whitening: all directions of the training features get the same, or a more similar, weight. Needs no labels."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

COMPONENTS = 256
IMAGES = 10_000  # most images to fit to: more change the axes little, and take long if d is large
FEWEST = 100  # fewest images to fit to: fewer have not been tried
POWER = 0.75
WHOLE = 1024  # number of features up to which all axes are computed
NEGLIGIBLE = 1e-6  # fraction of the largest variance: smaller variances are only rounding


@dataclass(frozen=True)
class Whitening:
    """A fitted whitening: x -> unit row of (x - mean) @ projection.

    Attributes:
        mean: float32 (d,).
        projection: float32 (d, components).
    """

    mean: Tensor
    projection: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """Apply the whitening.

        Args:
            features: float32 (n, d).

        Returns:
            Unit rows, float32 (n, components).
        """
        # in parts, because a centred copy of all features can need much memory
        parts = [(part - self.mean) @ self.projection for part in features.split(8192)]
        return F.normalize(torch.cat(parts), dim=1)


def power_for(images: int) -> float | None:
    """Choose the power of a whitening to ``COMPONENTS`` axes.

    Measured on 100 to 4,000 images of four data sets, fitted to them and searched among them (docs/export.md). Of five
    powers, 0.75 found the most on average. Full whitening loses half of the neighbours if there are few images.

    Args:
        images: Number of images that the whitening is fitted to.

    Returns:
        The power, or None if there are too few images.
    """
    return POWER if images >= FEWEST else None


def fit_whitening(features: Tensor, components: int = COMPONENTS, *, power: float = 1.0) -> Whitening:
    """Fit a whitening by the first principal axes (Jegou & Chum 2012, section 3).

    Above ``IMAGES`` rows, evenly spaced rows are used. The covariance is in float64. An axis of variance v is divided
    by v ** (``power`` / 2).

    Args:
        features: float32 (n, d).
        components: Number of axes.
        power: 0 is plain PCA, 1 is full whitening; between them large axes keep some of their weight.

    Returns:
        The whitening. It has fewer axes if some have almost no variance: at most n - 1, and none for constant features,
        which then become zeros.
    """
    if len(features) > IMAGES:
        features = features[torch.linspace(0, len(features) - 1, IMAGES).long()]
    mean = features.double().mean(dim=0)
    if 2 * len(features) < features.shape[1]:
        _, sigma, rows = torch.linalg.svd(features.double() - mean, full_matrices=False)
        values, vectors = sigma.square() / len(features), rows.T
    else:
        covariance = torch.zeros(len(mean), len(mean), dtype=torch.float64)
        for part in features.split(4096):
            centred = part.double() - mean
            covariance.addmm_(centred.T, centred)
        values, vectors = _largest(covariance / len(features), components)
    kept = int((values > NEGLIGIBLE * values[0].clamp(min=NEGLIGIBLE**2)).sum())
    kept = min(kept, components, len(features) - 1)
    axes = vectors[:, :kept] / values[:kept] ** (power / 2)
    return Whitening(mean.float(), axes.float())


def _largest(matrix: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Eigenvalues, falling, and eigenvectors (columns) of a symmetric float64 matrix: all, or at least ``count``."""
    size = len(matrix)
    if size <= WHOLE or 4 * count > size:
        values, vectors = torch.linalg.eigh(matrix)
        return values.flip(0), vectors.flip(1)
    # computing all takes a minute for 3,000 features, and only a tenth is needed
    from scipy.sparse.linalg import eigsh

    values, vectors = eigsh(matrix.numpy(), count, v0=np.ones(size))
    order = np.argsort(values)[::-1]
    return torch.from_numpy(values[order].copy()), torch.from_numpy(vectors[:, order].copy())
