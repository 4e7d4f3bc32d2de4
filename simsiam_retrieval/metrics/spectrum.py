"""Label-free quality of features: how many dimensions they use, how well views agree, how they are distributed.

All functions take float features (n, d), n >= 2, and compute in float64 on the CPU. Published implementations differ:
in centring, and in using sigma or sigma squared. Each docstring says what is used here.
"""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor


def rankme(features: Tensor) -> float:
    """Compute RankMe, the effective rank: exp of the entropy of the normalised singular values.

    Source: Garrido et al. 2023, equation 1. As there, features are not centred, and the singular values are not
    squared.

    Args:
        features: Float (n, d).

    Returns:
        A value in [1, min(n, d)]. 1 if all rows are multiples of one vector and, by convention, if all are zero.
    """
    sigma = torch.linalg.svdvals(features.double().cpu())
    total = sigma.sum()
    if total == 0:
        return 1.0
    p = sigma / total
    p = p[p > 0]
    return float((-(p * p.log()).sum()).exp())


def covariance_eigenvalues(features: Tensor) -> Tensor:
    """Compute the eigenvalues of the covariance (divided by n) of centred features.

    Uses the smaller of X^T X and X X^T; both have the same eigenvalues.

    Args:
        features: Float (n, d).

    Returns:
        float64 (min(n, d),), largest first, in squared units of the features.
    """
    x = features.double().cpu()
    x = x - x.mean(dim=0)
    gram = x.T @ x if x.shape[0] >= x.shape[1] else x @ x.T
    return torch.linalg.eigvalsh(gram).flip(0).clamp(min=0) / len(x)


def explained_variance(features: Tensor) -> Tensor:
    """Compute the share of the variance in the first 1, 2, ... principal components.

    Features are centred; the shares are of the covariance's eigenvalues (squared singular values).

    Args:
        features: Float (n, d).

    Returns:
        float64 (min(n, d),), rising to 1. All ones for constant features, which have no variance.
    """
    variance = covariance_eigenvalues(features)
    if float(variance.sum()) <= _rounding(features):
        return torch.ones_like(variance)
    return variance.cumsum(0) / variance.sum()


def _rounding(features: Tensor) -> float:
    """Upper bound of a total variance that is only float32 rounding of the features."""
    return 1e-13 * float(features.double().square().sum(dim=1).mean())


def explained_variance_auc(features: Tensor) -> float:
    """Compute the mean of the curve of ``explained_variance`` (Li, Efros & Pathak 2022).

    Args:
        features: Float (n, d).

    Returns:
        A value up to 1. Low means that the variance is distributed over many components; 1 means rank one. For
        isotropic features it tends to (r + 1) / 2r with r = min(n, d).
    """
    return float(explained_variance(features).mean())


FIRST, LAST = 4, 100  # range of components that alpha-ReQ's line is fitted to


def alpha_req(features: Tensor) -> float | None:
    """Compute the decay of the eigenspectrum: alpha in lambda_j ~ j^-alpha (Agrawal et al. 2022, section 3).

    Features are centred. The eigenvalues are those of the covariance, not singular values (which would halve alpha).
    Alpha is the negative slope of log lambda_j over log j, by least squares. The weights 1/j (Stringer et al. 2019)
    make every octave of components count about the same.

    Published code uses different ranges of components: 4-100, 12-100 and 6-50. Here the range is 4 to 100, or to the
    last component that is not negligible (above 1e-9 of the first).

    Args:
        features: Float (n, d).

    Returns:
        Alpha. The paper finds the best features near 1. Large means few directions (collapse); 0 is isotropic. None if
        fewer than three components are in range: constant features, low rank, n or d below 6.
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
    """Compute LiDAR, the effective rank of linear discriminant analysis over views (Thilak et al. 2024, section 4).

    Each of n images is a class; its q random views are the members. S_b is the covariance of the class means. S_w is
    the covariance of the views within classes plus delta * I. LiDAR is exp of the entropy of the normalised eigenvalues
    of S_w^-1/2 S_b S_w^-1/2.

    The paper uses n = 1000, q = 50 and an absolute delta of 1e-4. Here delta is 1e-4 of S_w's mean eigenvalue, so that
    the length of the features does not matter (this package's encoders give unit rows). Directions that do not vary
    between views then have a large weight, as they should.

    Args:
        features: Float (n, q, d).

    Returns:
        A value in [1, min(n - 1, d)]. Compare only values with equal n. 1, by convention, if all class means are the
        same.

    Raises:
        ValueError: n < 2 or q < 2.
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
    """Compute the mean squared distance of matching unit rows (Wang & Isola 2020, alpha = 2).

    Args:
        a: First views, float (n, d).
        b: Second views, float (n, d).

    Returns:
        0 if the views agree; 2 for unrelated features.
    """
    a, b = F.normalize(a.double().cpu(), dim=1), F.normalize(b.double().cpu(), dim=1)
    return float((a - b).square().sum(dim=1).mean())


def uniformity(features: Tensor) -> float:
    """Compute the log of the mean of exp(-2 ||x - y||^2) over distinct pairs of unit rows (Wang & Isola 2020, t = 2).

    Args:
        features: Float (n, d).

    Returns:
        0 if all rows are the same; about -4 for points distributed evenly over a sphere of many dimensions.
    """
    x = F.normalize(features.double().cpu(), dim=1)
    parts = [torch.logsumexp(-2 * squared, dim=0) for squared in _pair_distances(x)]
    return float(torch.logsumexp(torch.stack(parts), dim=0) - math.log(len(x) * (len(x) - 1)))


def _pair_distances(x: Tensor, rows: int = 1024) -> Iterator[Tensor]:
    """Squared distances of distinct pairs of unit rows, in blocks, so that the n x n matrix is never in memory."""
    for start in range(0, len(x), rows):
        block = (2 - 2 * (x[start : start + rows] @ x.T)).clamp(min=0)
        position = torch.arange(len(block))
        distinct = torch.ones_like(block, dtype=torch.bool)
        distinct[position, position + start] = False
        yield block[distinct]


def view_retrieval(a: Tensor, b: Tensor) -> float:
    """Compute the fraction of rows of ``a`` whose most similar row of ``b`` (by cosine) is their own.

    A tie between t rows counts 1/t. Features that are all the same therefore score 1/n, not 1.

    Args:
        a: First views, float (n, d).
        b: Second views, float (n, d).

    Returns:
        A value in [0, 1]: 1 is best, 1/n is chance.
    """
    a, b = F.normalize(a.double().cpu(), dim=1), F.normalize(b.double().cpu(), dim=1)
    similarity = a @ b.T
    own = similarity.diagonal()[:, None]
    at_least = (similarity >= own - 1e-9).sum(dim=1)
    better = (similarity > own + 1e-9).any(dim=1)
    return float(torch.where(better, 0.0, 1.0 / at_least).mean())
