"""PCA whitening: every direction of the training features counts the same, or more alike. Fitted without labels."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

COMPONENTS = 256
IMAGES = 10_000  # at most, to fit to: more change the axes little and take long where d is large
FEWEST = 100  # images: fewer have not been tried
POWER = 0.75
WHOLE = 1024  # features: up to here all axes are computed
NEGLIGIBLE = 1e-6  # of the largest variance: below it there is only rounding


@dataclass(frozen=True)
class Whitening:
    """x -> unit row of (x - mean) @ projection."""

    mean: Tensor  # float32 (d,)
    projection: Tensor  # float32 (d, components)

    def __call__(self, features: Tensor) -> Tensor:
        """Whitened unit rows, (n, components), of features (n, d)."""
        # in parts: a centred copy of a large set's pixels would not be small
        parts = [(part - self.mean) @ self.projection for part in features.split(8192)]
        return F.normalize(torch.cat(parts), dim=1)


def power_for(images: int) -> float | None:
    """The power of a whitening to ``COMPONENTS`` axes, fitted to ``images``; None for too few.

    Measured on 100 to 4,000 images of four sets, fitted to them and searched among them (docs/export.md): of five
    powers 0.75 found most in the mean, and full whitening loses half of the neighbours where images are few.
    """
    return POWER if images >= FEWEST else None


def fit_whitening(features: Tensor, components: int = COMPONENTS, *, power: float = 1.0) -> Whitening:
    """Whitening by the first ``components`` principal axes of ``features`` (n, d) (Jegou & Chum 2012, section 3).

    Of more than ``IMAGES`` rows evenly spaced ones are taken; their covariance is in float64. Axes with next to no
    variance are left out, so that there may be fewer: at most n - 1, and none for constant features, which then become
    zeros. Axes of variance v are divided by v ** (``power`` / 2): 0 is plain PCA, and between 0 and 1 large axes keep
    some of their weight.
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
    # all of them take a minute at 3,000 features, of which a tenth is asked for
    from scipy.sparse.linalg import eigsh

    values, vectors = eigsh(matrix.numpy(), count, v0=np.ones(size))
    order = np.argsort(values)[::-1]
    return torch.from_numpy(values[order].copy()), torch.from_numpy(vectors[:, order].copy())
