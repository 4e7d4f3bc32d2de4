"""The figures of the benchmark of copies, worked out by hand."""

import numpy as np
import pytest

from benchmarks.copies import measured, recall_at_precision


def test_recall_at_a_precision() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    right = np.array([True, True, False, True, True])
    assert recall_at_precision(scores, right, 5, 1.0) == 0.4  # 0.9 and 0.8
    assert recall_at_precision(scores, right, 5, 0.75) == 0.8  # 3 of 4 at 0.6, 4 of 5 at 0.5
    assert recall_at_precision(scores, ~right, 5, 0.9) == 0.0


def test_equal_scores_are_found_together() -> None:
    assert recall_at_precision(np.array([0.5, 0.5]), np.array([True, False]), 2, 0.9) == 0.0
    assert recall_at_precision(np.array([0.5, 0.5]), np.array([False, True]), 2, 0.5) == 0.5


def test_the_mean_of_reciprocal_ranks() -> None:
    ranked = [[(7, 0.9), (3, 0.8)], [(1, 0.95)], [(2, 0.5)]]
    recall, mean = measured(ranked, [3, 1, 9])
    assert mean == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert recall == pytest.approx(1 / 3)  # at 0.95; the pair at 0.9 is false
