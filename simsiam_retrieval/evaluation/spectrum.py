"""Label-free quality of features: how many dimensions they use, how views agree, how they spread.

All functions take float features (n, d), n >= 2, and compute in float64 on the CPU. Published implementations differ in
centring and in sigma or sigma squared; each docstring says which is meant.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def rankme(features: Tensor) -> float:
    """Effective rank: exp of the entropy of the normalised singular values (Garrido et al. 2023, equation 1).

    Not centred, singular values themselves (not their squares), as in that paper. In [1, min(n, d)]; 1 when all rows
    are multiples of one vector, and, by convention, when all are zero.
    """
    sigma = torch.linalg.svdvals(features.double().cpu())
    total = sigma.sum()
    if total == 0:
        return 1.0
    p = sigma / total
    p = p[p > 0]
    return float((-(p * p.log()).sum()).exp())


def explained_variance(features: Tensor) -> Tensor:
    """Share of the variance in the first 1, 2, ... principal components: float64 (min(n, d),), rising to 1.

    Centred; eigenvalues of the covariance (squared singular values). Constant features have no variance: all ones.
    """
    x = features.double().cpu()
    variance = torch.linalg.svdvals(x - x.mean(dim=0)).square()
    if variance.sum() == 0:
        return torch.ones_like(variance)
    return variance.cumsum(0) / variance.sum()


def explained_variance_auc(features: Tensor) -> float:
    """Mean of :func:`explained_variance`'s curve (Li, Efros & Pathak 2022): low is spread out, 1 is rank one.

    For isotropic features it tends to (r + 1) / 2r with r = min(n, d) components of equal variance.
    """
    return float(explained_variance(features).mean())


def alignment(a: Tensor, b: Tensor) -> float:
    """Mean squared distance of matching unit rows (Wang & Isola 2020, alpha = 2): 0 when views agree, 2 by chance."""
    a, b = F.normalize(a.double().cpu(), dim=1), F.normalize(b.double().cpu(), dim=1)
    return float((a - b).square().sum(dim=1).mean())


def uniformity(features: Tensor) -> float:
    """Log of the mean of exp(-2 ||x - y||^2) over distinct pairs of unit rows (Wang & Isola 2020, t = 2).

    0 when all rows are the same; about -4 for points scattered evenly over a sphere of many dimensions.
    """
    x = F.normalize(features.double().cpu(), dim=1)
    squared = (2 - 2 * (x @ x.T)).clamp(min=0)
    n = len(x)
    distinct = ~torch.eye(n, dtype=torch.bool)
    return float(torch.logsumexp(-2 * squared[distinct], dim=0) - math.log(n * (n - 1)))


def view_retrieval(a: Tensor, b: Tensor) -> float:
    """Part of rows of ``a`` whose most similar row of ``b`` (cosine) is their own: 1 is best, 1/n is chance.

    Ties count as misses but for a row's own share: features that are all the same score 1/n, not 1.
    """
    a, b = F.normalize(a.double().cpu(), dim=1), F.normalize(b.double().cpu(), dim=1)
    similarity = a @ b.T
    own = similarity.diagonal()[:, None]
    at_least = (similarity >= own - 1e-9).sum(dim=1)
    better = (similarity > own + 1e-9).any(dim=1)
    return float(torch.where(better, 0.0, 1.0 / at_least).mean())
