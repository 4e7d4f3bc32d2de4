"""Grouping around leaders, against a plain double loop in float64."""

import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray

from simsiam_retrieval.collection.duplicates import follow_leaders as grouping
from simsiam_retrieval.collection.duplicates.follow_leaders import follow_leaders


def unit(vectors: NDArray) -> NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def reference(vectors: NDArray, threshold: float) -> list[int]:
    """The definition, one vector at a time."""
    exact = vectors.astype(float)
    leaders: list[int] = []
    found = []
    for row, vector in enumerate(exact):
        close = [(float(vector @ exact[other]), -other) for other in leaders if vector @ exact[other] >= threshold]
        if close:
            found.append(-max(close)[1])
        else:
            leaders.append(row)
            found.append(row)
    return found


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouping, "ROWS", 7)
    monkeypatch.setattr(grouping, "COLUMNS", 11)


@pytest.mark.parametrize("count", [1, 2, 6, 7, 8, 21, 100])
@pytest.mark.parametrize("threshold", [0.3, 0.7, 0.95])
def test_it_is_the_definition(small_blocks, count, threshold):
    for seed in range(5):
        vectors = unit(np.random.default_rng(seed).normal(size=(count, 3)))  # three dimensions: crowded
        leader, score = follow_leaders(vectors, threshold)
        assert leader.tolist() == reference(vectors, threshold)
        expected = np.einsum("nd,nd->n", vectors.astype(float), vectors[leader].astype(float))
        np.testing.assert_allclose(score, expected, atol=1e-6)


@pytest.mark.parametrize("threshold", [0.5, 0.9])
def test_what_it_promises(threshold):
    """Followers are close to their leader, leaders are not close to each other, leaders come first."""
    vectors = unit(np.random.default_rng(0).normal(size=(3000, 4)))
    leader, _ = follow_leaders(vectors, threshold)
    assert (np.einsum("nd,nd->n", vectors, vectors[leader]) >= threshold - 1e-5).all()
    leaders = np.unique(leader)
    assert (leader[leaders] == leaders).all()
    similarity = vectors[leaders] @ vectors[leaders].T
    np.fill_diagonal(similarity, -1)
    assert similarity.max() < threshold
    assert (leader <= np.arange(3000)).all()


def test_groups_do_not_chain(small_blocks):
    """Thirty directions five degrees apart: neighbours are similar, the ends are opposite."""
    angles = np.radians(5 * np.arange(30))
    vectors = unit(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    leader, _ = follow_leaders(vectors, float(np.cos(np.radians(5.1))))
    assert leader.tolist() == [2 * (row // 2) for row in range(30)]


def test_a_follower_goes_with_the_closest_leader(small_blocks):
    angles = np.radians([0, 20, *[50] * 20, 12])
    vectors = unit(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    leader, score = follow_leaders(vectors, float(np.cos(np.radians(15))))
    assert leader[-1] == 1
    assert score[-1] == pytest.approx(np.cos(np.radians(8)), abs=1e-6)


def test_equal_vectors_at_threshold_one():
    vectors = np.repeat(unit(np.random.default_rng(0).normal(size=(50, 512))), 40, axis=0)
    leader, score = follow_leaders(vectors, 1.0)
    assert leader.tolist() == [row // 40 * 40 for row in range(2000)]
    assert score.max() <= 1 and score.min() > 1 - 1e-5


def test_no_vectors():
    leader, score = follow_leaders(np.zeros((0, 8), np.float32), 0.9)
    assert (len(leader), len(score)) == (0, 0)


def test_progress():
    seen: list[int] = []
    follow_leaders(unit(np.random.default_rng(0).normal(size=(2500, 8))), 0.9, seen.append)
    assert seen == [1024, 1024, 452]


@pytest.mark.parametrize("spread", [0, 1])
def test_memory_does_not_grow_with_the_pairs(spread):
    """All alike, 200 million similar pairs, or all different: the blocks alone."""
    vectors = unit(1 + spread * np.random.default_rng(0).normal(size=(20_000, 16)))
    tracemalloc.start()
    leader, _ = follow_leaders(vectors, 0.95 if spread == 0 else 1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(np.unique(leader)) == (1 if spread == 0 else 20_000)
    assert peak < 120 * 2**20
