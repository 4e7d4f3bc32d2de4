"""Outlier scores against a direct computation and scikit-learn, and planted strangers."""

import numpy as np
import pytest
from sklearn.neighbors import LocalOutlierFactor

from simsiam_retrieval.collection.check import outliers
from simsiam_retrieval.collection.check.outliers import outlier_scores


def _unit(rows: int, seed: int = 0, dim: int = 16) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)
    vectors[: rows // 2] += 3  # a dense half
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_distance_and_typicality_are_what_a_whole_matrix_gives() -> None:
    vectors = _unit(200)
    cosines = vectors.astype(float) @ vectors.T.astype(float)
    np.fill_diagonal(cosines, -np.inf)
    nearest = 1 - np.sort(cosines, axis=1)[:, ::-1][:, :7]
    assert outlier_scores(vectors, "distance", k=7) == pytest.approx(nearest[:, -1], abs=1e-5)
    assert outlier_scores(vectors, "typicality", k=7) == pytest.approx(-1 / nearest.mean(axis=1), rel=1e-3)


def test_lof_is_scikit_learns() -> None:
    vectors = _unit(300, seed=1)
    expected = -LocalOutlierFactor(10, metric="cosine", algorithm="brute").fit(vectors).negative_outlier_factor_
    assert outlier_scores(vectors, "lof", k=10) == pytest.approx(expected, rel=1e-3)


def test_copies_are_neighbours_and_nobody_is_its_own() -> None:
    vectors = np.repeat(_unit(6), [1, 1, 1, 1, 1, 30], axis=0)
    scores = outlier_scores(vectors, k=5)
    assert scores[5:] == pytest.approx(0, abs=1e-5)
    assert scores[:5].min() > 0.001


@pytest.mark.parametrize("method", outliers.METHODS)
def test_of_many_images_some_are_drawn_and_planted_ones_still_come_first(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(outliers, "REFERENCES", 150)
    generator = np.random.default_rng(2)
    centre = generator.normal(size=32)
    vectors = np.concatenate([centre + 0.3 * generator.normal(size=(400, 32)), generator.normal(size=(5, 32))])
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    scores = outlier_scores(vectors, method)
    assert set(np.argsort(-scores)[:5]) == {400, 401, 402, 403, 404}
    assert (scores == outlier_scores(vectors, method)).all()


def test_too_few_or_unknown() -> None:
    with pytest.raises(ValueError, match="no neighbours"):
        outlier_scores(_unit(1))
    with pytest.raises(ValueError, match="no such method"):
        outlier_scores(_unit(4), "knn")
    assert len(outlier_scores(_unit(2))) == 2
