"""Pairs that are found once give the groups that a search at each threshold gives."""

import numpy as np
import pytest

from simsiam_retrieval import Collection, UserError
from simsiam_retrieval.collection.duplicates import near_pairs as module
from simsiam_retrieval.collection.duplicates.follow_leaders import follow_leaders
from simsiam_retrieval.collection.duplicates.near_pairs import follow_among, near_pairs
from tests.collection.duplicates.test_follow_leaders import unit


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS", 7)
    monkeypatch.setattr(module, "COLUMNS", 11)


def crowd(count: int, seed: int = 0) -> np.ndarray:
    """Unit vectors in three dimensions: most have near ones."""
    return unit(np.random.default_rng(seed).normal(size=(count, 3)))


@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 50, 200])
def test_all_pairs_and_no_others(small_blocks: None, count: int) -> None:
    vectors = crowd(count) if count else np.empty((0, 3), np.float32)
    exact = vectors.astype(float) @ vectors.astype(float).T
    done: list[int] = []
    pairs = near_pairs(vectors, 0.9, done.append)
    expected = [(i, j) for j in range(count) for i in range(j) if exact[i, j] >= 0.9]
    assert list(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)) == expected
    np.testing.assert_allclose(pairs.cosine, [exact[pair] for pair in expected], atol=1e-6)
    assert (sum(done), pairs.least) == (count, 0.9)


@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.95, 0.999, 1.0])
def test_groups_are_those_of_a_search(small_blocks: None, threshold: float) -> None:
    for seed in range(5):
        vectors = crowd(200, seed)
        vectors[150:] = vectors[:50]  # equal ones
        found = near_pairs(vectors, 0.5)
        leader, score = follow_among(found, len(vectors), threshold)
        expected_leader, expected_score = follow_leaders(vectors, threshold)
        assert leader.tolist() == expected_leader.tolist()
        np.testing.assert_allclose(score, expected_score, atol=1e-6)


def test_too_many_pairs_raise_the_least(small_blocks: None) -> None:
    vectors = crowd(200)
    everything, some = near_pairs(vectors, 0.0), near_pairs(vectors, 0.0, most=500)
    assert len(everything.left) > 5000 and 250 <= len(some.left) <= 500
    kept = everything.cosine >= some.least - module.ROUNDING
    assert some.cosine.tolist() == everything.cosine[kept].tolist()
    threshold = some.least
    assert follow_among(some, 200, threshold)[0].tolist() == follow_leaders(vectors, threshold)[0].tolist()
    with pytest.raises(ValueError, match="known from"):
        follow_among(some, 200, threshold - 0.01)


def test_equal_vectors_beyond_all_bounds_are_no_memory() -> None:
    found = near_pairs(np.tile(crowd(1), (300, 1)), 0.9, most=1000)
    assert found.least > 1 and len(found.left) <= 1000


def test_a_comparison_has_the_groups_of_duplicates(collection_dir) -> None:
    with Collection.open(collection_dir) as collection:
        comparison = collection.compare(0.8)
        assert comparison.images == len(collection)
        for threshold in (0.8, 0.9, 0.97, 0.99, 1.0):
            expected = collection.duplicates(threshold)
            found = comparison.groups(threshold)
            assert comparison.describe(found) == expected
            spare = sum(file.item.size for group in expected for file in group[1:] if not file.state)
            assert comparison.spare_bytes(found) == spare
        assert len(collection.duplicates(0.8)) > 1
        assert comparison.describe(comparison.groups(None)) == collection.duplicates(exact=True)
        with pytest.raises(UserError, match="above 0"):
            collection.compare(1.5)
