"""Outlier scores against a direct computation and scikit-learn, and planted strangers."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
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


def test_mahalanobis_is_what_numpy_and_scipy_give() -> None:
    vectors = _unit(200).astype(float)
    covariance = np.cov(vectors.T, bias=True)
    covariance += 5 * np.trace(covariance) / 16 * np.eye(16)
    expected = cdist(vectors, vectors.mean(axis=0)[None], "mahalanobis", VI=np.linalg.inv(covariance))[:, 0]
    assert outlier_scores(vectors.astype(np.float32)) == pytest.approx(expected, rel=1e-4)


def test_strangers_that_are_like_each_other_are_found_too() -> None:
    generator = np.random.default_rng(3)
    centre, other = generator.normal(size=(2, 32))
    vectors = np.concatenate([centre + 0.3 * generator.normal(size=(970, 32)), other + np.zeros((30, 32))])
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    assert np.argsort(-outlier_scores(vectors))[:30].min() == 970
    assert np.argsort(-outlier_scores(vectors, "distance"))[:30].max() < 970


def test_of_equal_images_none_is_far() -> None:
    assert outlier_scores(np.repeat(_unit(1), 50, axis=0)).max() == 0


def test_lof_is_scikit_learns() -> None:
    vectors = _unit(300, seed=1)
    expected = -LocalOutlierFactor(10, metric="cosine", algorithm="brute").fit(vectors).negative_outlier_factor_
    assert outlier_scores(vectors, "lof", k=10) == pytest.approx(expected, rel=1e-3)


def test_copies_are_neighbours_and_nobody_is_its_own() -> None:
    vectors = np.repeat(_unit(6), [1, 1, 1, 1, 1, 30], axis=0)
    scores = outlier_scores(vectors, "distance", k=5)
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
