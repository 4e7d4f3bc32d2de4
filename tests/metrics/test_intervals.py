"""Confidence intervals against published tables and against simulation."""

import numpy as np
import pytest

from simsiam_retrieval.metrics.intervals import mean_interval, student_quantile, wilson


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (15, 148, 0.0624, 0.1605)],
)
def test_wilson_equals_published_values(hits: int, n: int, low: float, high: float) -> None:
    """15 of 148 is the example of Newcombe 1998."""
    assert wilson(hits, n) == pytest.approx((low, high), abs=1e-4)


def test_wilson_covers_the_truth_95_times_in_100() -> None:
    drawn = np.random.default_rng(0).binomial(200, 0.9, 4000)
    covered = np.mean([low <= 0.9 <= high for low, high in (wilson(hits, 200) for hits in drawn)])
    assert 0.935 < covered < 0.965


@pytest.mark.parametrize(
    ("p", "freedom", "value"),
    [(0.975, 1, 12.7062), (0.975, 2, 4.30265), (0.975, 9, 2.26216), (0.975, 30, 2.04227), (0.95, 4, 2.13185)],
)
def test_student_quantile_equals_the_table(p: float, freedom: int, value: float) -> None:
    assert student_quantile(p, freedom) == pytest.approx(value, abs=1e-4)


def test_mean_interval_by_hand() -> None:
    """Mean 2, standard deviation 1, three draws: 2 +- 4.30265 / sqrt(3)."""
    assert mean_interval([1, 2, 3]) == pytest.approx((2 - 2.48414, 2 + 2.48414), abs=1e-4)


def test_no_trials_have_no_interval() -> None:
    with pytest.raises(ValueError):
        wilson(0, 0)
    with pytest.raises(ValueError):
        mean_interval([0.5])
