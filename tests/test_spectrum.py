"""Label-free quality of features, against closed-form cases."""

import math

import pytest
import torch

from simsiam_retrieval.evaluation.spectrum import (
    alignment,
    explained_variance,
    explained_variance_auc,
    rankme,
    uniformity,
    view_retrieval,
)


def gaussian(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("n", "d"), [(8, 8), (5, 9), (12, 7)])
def test_rankme_of_orthogonal_rows_is_their_number(n: int, d: int) -> None:
    assert rankme(3 * torch.eye(n, d)) == pytest.approx(min(n, d))


def test_rankme_of_two_unequal_singular_values() -> None:
    """Singular values 3 and 1: p = 3/4, 1/4."""
    expected = math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert rankme(torch.diag(torch.tensor([3.0, 1.0]))) == pytest.approx(expected)


def test_rankme_of_rank_one_constant_and_zero_features_is_one() -> None:
    assert rankme(torch.outer(gaussian(6, 1)[:, 0], gaussian(1, 4)[0])) == pytest.approx(1, abs=1e-4)
    assert rankme(torch.ones(6, 4)) == pytest.approx(1, abs=1e-6)
    assert rankme(torch.zeros(6, 4)) == 1


def test_rankme_does_not_depend_on_scale_and_sees_few_rows() -> None:
    features = gaussian(50, 20)
    assert rankme(1000 * features) == pytest.approx(rankme(features))
    assert rankme(gaussian(5, 100)) <= 5


def test_explained_variance_of_known_covariance() -> None:
    """Centred points at +-2 on one axis and +-1 on another: variances 4 : 1."""
    points = torch.tensor([[2.0, 0], [-2.0, 0], [0, 1.0], [0, -1.0]]) + 10
    assert explained_variance(points).tolist() == pytest.approx([0.8, 1.0])
    assert explained_variance_auc(points) == pytest.approx(0.9)


def test_explained_variance_of_constant_rank_one_and_isotropic_features() -> None:
    assert explained_variance_auc(torch.ones(5, 3)) == 1
    assert explained_variance_auc(torch.outer(gaussian(6, 1)[:, 0], gaussian(1, 4)[0])) == pytest.approx(1)
    d = 16
    assert explained_variance_auc(gaussian(50_000, d)) == pytest.approx((d + 1) / (2 * d), abs=0.01)


def test_alignment_of_equal_opposite_and_independent_rows() -> None:
    a = gaussian(4000, 64)
    assert alignment(a, 5 * a) == pytest.approx(0, abs=1e-9)
    assert alignment(a, -a) == pytest.approx(4)
    assert alignment(a, gaussian(4000, 64, seed=1)) == pytest.approx(2, abs=0.02)


def test_uniformity_of_equal_opposite_and_scattered_rows() -> None:
    assert uniformity(torch.ones(5, 3)) == pytest.approx(0, abs=1e-9)
    assert uniformity(torch.tensor([[1.0, 0], [-1.0, 0]])) == pytest.approx(-8)  # squared distance 4, times -2
    assert uniformity(gaussian(500, 2000)) == pytest.approx(-4, abs=0.02)


def test_view_retrieval_counts_own_partners() -> None:
    a = torch.eye(4)
    assert view_retrieval(a, a) == 1
    assert view_retrieval(a, a[[1, 0, 2, 3]]) == 0.5
    assert view_retrieval(a, a.roll(1, dims=0)) == 0
    # all the same: every partner is as good as every other
    assert view_retrieval(torch.ones(8, 3), torch.ones(8, 3)) == pytest.approx(1 / 8)
