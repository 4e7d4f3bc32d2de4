"""Label-free quality of features, against closed-form cases."""

import math

import numpy as np
import pytest
import torch

from simsiam_retrieval.metrics.spectrum import (
    alignment,
    alpha_req,
    covariance_eigenvalues,
    explained_variance,
    explained_variance_auc,
    lidar,
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


def with_spectrum(eigenvalues: torch.Tensor, n: int = 400) -> torch.Tensor:
    """n centred rows whose covariance has exactly these eigenvalues."""
    d = len(eigenvalues)
    basis = torch.linalg.qr(gaussian(n, d).double() - gaussian(n, d).double().mean(dim=0)).Q
    rotation = torch.linalg.qr(gaussian(d, d, seed=1).double()).Q
    return basis * math.sqrt(n) * eigenvalues.sqrt() @ rotation.T


@pytest.mark.parametrize("shape", [(50, 8), (8, 50), (20, 20)])
def test_covariance_eigenvalues_equal_numpy(shape: tuple[int, int]) -> None:
    x = gaussian(*shape) + 5
    expected = np.linalg.eigvalsh(np.cov(x.double().numpy().T, bias=True))[::-1][: min(shape)]
    np.testing.assert_allclose(covariance_eigenvalues(x).numpy(), expected, atol=1e-9)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 2.3])
def test_alpha_of_an_exact_power_law(alpha: float) -> None:
    features = with_spectrum(7 * torch.arange(1, 151, dtype=torch.float64) ** -alpha)
    assert alpha_req(features) == pytest.approx(alpha, abs=1e-6)
    assert alpha_req(100 * features + 3) == pytest.approx(alpha, abs=1e-6)  # neither scale nor place matters


def test_alpha_reads_components_4_to_100_with_weights_1_over_j() -> None:
    """Other eigenvalues may be anything; the slope is numpy's weighted least-squares line through the rest."""
    values = torch.arange(1, 121, dtype=torch.float64) ** -1.0 * (1 + 0.3 * torch.sin(torch.arange(120.0).double()))
    values = values.sort(descending=True).values
    values[:3] *= 50
    values[100:] *= 1e-3
    j = np.arange(4, 101)
    slope = np.polyfit(np.log(j), np.log(values[3:100].numpy()), 1, w=np.sqrt(1 / j))[0]  # polyfit squares weights
    assert alpha_req(with_spectrum(values)) == pytest.approx(-slope, abs=1e-6)


def test_alpha_where_there_is_no_line_to_draw() -> None:
    assert alpha_req(torch.ones(50, 20)) is None
    assert alpha_req(torch.full((50, 20), 0.1)) is None  # 0.1 is not exact in binary
    assert alpha_req(torch.outer(gaussian(60, 1)[:, 0], gaussian(1, 40)[0])) is None
    assert alpha_req(gaussian(5, 40)) is None and alpha_req(gaussian(100, 5)) is None
    assert alpha_req(gaussian(30, 200)) is not None  # n < d


def test_isotropic_features_have_no_decay() -> None:
    assert alpha_req(gaussian(100_000, 64)) == pytest.approx(0, abs=0.05)


def test_lidar_of_equally_separable_directions_is_their_number() -> None:
    """Class means at +-1 on each of r axes, views scattered alike in all d: r equal eigenvalues."""
    r, d = 5, 8
    means = torch.cat([torch.eye(r, d), -torch.eye(r, d)]).double()
    scatter = 0.1 * torch.cat([torch.eye(d), -torch.eye(d)]).double()
    assert lidar(means[:, None] + scatter) == pytest.approx(r)
    assert lidar(1000 * (means[:, None] + scatter) + 7) == pytest.approx(r)  # neither scale nor place matters


def test_lidar_weighs_directions_by_how_well_they_separate() -> None:
    """Equal means on two axes; views scatter four times as far on one: eigenvalues 16 : 1."""
    means = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]]).double()
    scatter = torch.tensor([[0.4, 0], [-0.4, 0], [0, 0.1], [0, -0.1]]).double()
    # delta: 1e-4 of the mean eigenvalue of S_w, which has 0.08 * 4 / 3 and 0.005 * 4 / 3
    s_w = np.array([0.08, 0.005]) * 4 / 3
    eigenvalues = 1 / (s_w + 1e-4 * s_w.mean())
    p = eigenvalues / eigenvalues.sum()
    assert lidar(means[:, None] + scatter) == pytest.approx(math.exp(-(p * np.log(p)).sum()), abs=1e-6)


def test_lidar_of_collapsed_features_and_of_views_that_agree() -> None:
    assert lidar(torch.ones(6, 4, 3)) == 1.0
    assert lidar(torch.full((6, 4, 3), 0.1)) == 1.0
    line = gaussian(10, 1)[:, :, None] * torch.ones(10, 4, 3) + 1e-3 * gaussian(120, 1).reshape(10, 4, 3)
    assert lidar(line) == pytest.approx(1, abs=0.1)
    # views that agree fully: nothing to discriminate by but the means, here of four equal directions
    assert lidar(torch.cat([torch.eye(4), -torch.eye(4)])[:, None].expand(8, 3, 4)) == pytest.approx(4)
    assert lidar(gaussian(3 * 4, 50).reshape(3, 4, 50)) <= 2 + 1e-6  # n - 1
    for shape in ((1, 4, 3), (4, 1, 3)):
        with pytest.raises(ValueError):
            lidar(torch.zeros(shape))


def test_uniformity_of_many_rows_equals_a_plain_double_sum() -> None:
    x = torch.nn.functional.normalize(gaussian(1500, 3).double(), dim=1).numpy()  # two blocks
    squared = ((x[:, None] - x[None]) ** 2).sum(axis=2)
    expected = np.log(np.exp(-2 * squared)[~np.eye(1500, dtype=bool)].mean())
    assert uniformity(torch.from_numpy(x)) == pytest.approx(expected, abs=1e-9)
