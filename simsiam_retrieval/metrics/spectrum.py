"""Label-free quality of features: how many dimensions they use, how views agree, how they spread.

All functions take float features (n, d), n >= 2, and compute in float64 on the CPU. Published implementations differ in
centring and in sigma or sigma squared; each docstring says which is meant.
"""

import math
from collections.abc import Iterator

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


def covariance_eigenvalues(features: Tensor) -> Tensor:
    """Eigenvalues of the covariance of centred features, over n, largest first: float64 (min(n, d),).

    From the smaller of X^T X and X X^T, which share them. In squared units of the features.
    """
    x = features.double().cpu()
    x = x - x.mean(dim=0)
    gram = x.T @ x if x.shape[0] >= x.shape[1] else x @ x.T
    return torch.linalg.eigvalsh(gram).flip(0).clamp(min=0) / len(x)


def explained_variance(features: Tensor) -> Tensor:
    """Share of the variance in the first 1, 2, ... principal components: float64 (min(n, d),), rising to 1.

    Centred; eigenvalues of the covariance (squared singular values). Constant features have no variance: all ones.
    """
    variance = covariance_eigenvalues(features)
    if float(variance.sum()) <= _rounding(features):
        return torch.ones_like(variance)
    return variance.cumsum(0) / variance.sum()


def _rounding(features: Tensor) -> float:
    """A total variance that is nothing but float32 rounding of the features."""
    return 1e-13 * float(features.double().square().sum(dim=1).mean())


def explained_variance_auc(features: Tensor) -> float:
    """Mean of :func:`explained_variance`'s curve (Li, Efros & Pathak 2022): low is spread out, 1 is rank one.

    For isotropic features it tends to (r + 1) / 2r with r = min(n, d) components of equal variance.
    """
    return float(explained_variance(features).mean())


FIRST, LAST = 4, 100  # components that alpha-ReQ's line is drawn through


def alpha_req(features: Tensor) -> float | None:
    """Decay of the eigenspectrum: alpha in lambda_j ~ j^-alpha (Agrawal et al. 2022, section 3).

    Centred; eigenvalues of the covariance, not singular values (which would halve alpha). The slope of log lambda_j
    over log j by least squares with weights 1/j (Stringer et al. 2019), so that every octave of components counts
    about the same. Published code differs in the range, from 4-100 to 12-100 and 6-50: here components 4 to 100, or
    to the last one that is not negligible (above 1e-9 of the first). The paper finds the best features near alpha = 1;
    large is few directions (collapse), 0 is isotropic.

    None where fewer than three components are in range: constant features, low rank, n or d below 6.
    """
    values = covariance_eigenvalues(features)
    if float(values.sum()) <= _rounding(features):
        return None
    values = values[values > 1e-9 * values[0]][:LAST]
    if len(values) < FIRST + 2:
        return None
    j = torch.arange(FIRST, len(values) + 1, dtype=torch.float64)
    weight, x, y = 1 / j, j.log(), values[FIRST - 1 :].log()
    x = x - (weight * x).sum() / weight.sum()
    return float(-(weight * x * y).sum() / (weight * x * x).sum())


DELTA = 1e-4


def lidar(features: Tensor) -> float:
    """Effective rank of linear discriminant analysis over views (Thilak et al. 2024, section 4): float (n, q, d).

    Each of n images is a class, its q random views the members: S_b is the covariance of the class means, S_w that of
    the views within classes plus delta * I. LiDAR = exp of the entropy of the normalised eigenvalues of
    S_w^-1/2 S_b S_w^-1/2. In [1, min(n - 1, d)]: compare figures of equal n only. The paper takes n = 1000, q = 50 and
    an absolute delta of 1e-4; here delta is 1e-4 of S_w's mean eigenvalue, so that the length of the features does
    not matter (those of an encoder here are unit rows). Directions that views do not move at all then weigh heavily,
    as they should. 1, by convention, when all class means are the same.

    Raises ``ValueError`` for n < 2 or q < 2.
    """
    n, q, d = features.shape
    if n < 2 or q < 2:
        raise ValueError("LiDAR needs at least two images and two views of each")
    x = features.double().cpu()
    means = x.mean(dim=1)
    between = means - means.mean(dim=0)
    within = (x - means[:, None]).reshape(-1, d)
    if float(between.square().sum()) <= _rounding(means) * n:
        return 1.0
    s_w = within.T @ within / (n * (q - 1))
    mean_eigenvalue = float(s_w.trace()) / d
    s_w = s_w + (DELTA * mean_eigenvalue if mean_eigenvalue > 0 else 1.0) * torch.eye(d, dtype=torch.float64)
    values, vectors = torch.linalg.eigh(s_w)
    whitened = between @ (vectors / values.sqrt())
    eigenvalues = torch.linalg.svdvals(whitened).square()
    p = eigenvalues / eigenvalues.sum()
    p = p[p > 0]
    return float((-(p * p.log()).sum()).exp())


def alignment(a: Tensor, b: Tensor) -> float:
    """Mean squared distance of matching unit rows (Wang & Isola 2020, alpha = 2): 0 when views agree, 2 by chance."""
    a, b = F.normalize(a.double().cpu(), dim=1), F.normalize(b.double().cpu(), dim=1)
    return float((a - b).square().sum(dim=1).mean())


def uniformity(features: Tensor) -> float:
    """Log of the mean of exp(-2 ||x - y||^2) over distinct pairs of unit rows (Wang & Isola 2020, t = 2).

    0 when all rows are the same; about -4 for points scattered evenly over a sphere of many dimensions.
    """
    x = F.normalize(features.double().cpu(), dim=1)
    parts = [torch.logsumexp(-2 * squared, dim=0) for squared in _pair_distances(x)]
    return float(torch.logsumexp(torch.stack(parts), dim=0) - math.log(len(x) * (len(x) - 1)))


def _pair_distances(x: Tensor, rows: int = 1024) -> Iterator[Tensor]:
    """Squared distances of distinct pairs of unit rows, in blocks: n x n numbers need not fit into memory."""
    for start in range(0, len(x), rows):
        block = (2 - 2 * (x[start : start + rows] @ x.T)).clamp(min=0)
        position = torch.arange(len(block))
        distinct = torch.ones_like(block, dtype=torch.bool)
        distinct[position, position + start] = False
        yield block[distinct]


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
