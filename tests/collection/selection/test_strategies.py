"""Choices whose right answer is known: by numpy's full matrices, or because clusters were planted."""

import numpy as np
import pytest
from numpy.typing import NDArray

from simsiam_retrieval.collection.explore.few_shot_classifier import LinearProbe, Scaling, train
from simsiam_retrieval.collection.selection import strategies
from simsiam_retrieval.collection.selection.uncertain_images import uncertain
from tests.support.planted_clusters import planted_clusters, unit

NONE = np.zeros(0, np.int64)


def _greedy_centres(vectors: NDArray, candidates: list[int], known: list[int], count: int) -> list[int]:
    """K-centre greedy with all n x n distances."""
    distances = 1 - vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    chosen = list(known)
    found: list[int] = []
    for _ in range(count):
        if chosen:
            free = [row for row in candidates if row not in chosen]
            row = max(free, key=lambda row: distances[row, chosen].min())
        else:
            row = candidates[int((vectors[candidates] @ vectors[candidates].mean(axis=0)).argmax())]
        chosen.append(row)
        found.append(row)
    return found


@pytest.mark.parametrize("known", [[], [3, 50]])
def test_diverse_is_k_centre_greedy(known: list[int]) -> None:
    vectors, _ = planted_clusters(0.4)
    candidates = [row for row in range(0, len(vectors), 2) if row not in known]
    picks = strategies.diverse(vectors, np.array(candidates), np.array(known, np.int64), 12)
    assert picks.rows.tolist() == _greedy_centres(vectors, candidates, known, 12)
    nearest = [
        (1 - vectors[row] @ vectors[[*known, *picks.rows[:place].tolist()]].T).min()
        for place, row in enumerate(picks.rows.tolist())
        if place or known
    ]
    np.testing.assert_allclose(picks.scores[0 if known else 1 :], nearest, atol=1e-6)


def test_diverse_takes_copies_last() -> None:
    vectors = unit(np.repeat(np.eye(4), 3, axis=0))
    picks = strategies.diverse(vectors, np.arange(12), NONE, 12)
    assert {row // 3 for row in picks.rows[:4].tolist()} == {0, 1, 2, 3}
    assert sorted(picks.rows.tolist()) == list(range(12))


@pytest.mark.parametrize("strategy", [strategies.typical, strategies.central])
def test_one_image_of_each_planted_cluster_the_largest_first(strategy) -> None:
    vectors, numbers = planted_clusters()
    picks = strategy(vectors, np.arange(len(vectors)), NONE, 4, 0)
    assert numbers[picks.rows].tolist() == [0, 1, 2, 3]
    assert picks.reasons[0] == "stands for 40 images like it"
    for row in picks.rows.tolist():  # it lies in the middle of its cluster
        own = vectors[numbers == numbers[row]]
        cosines = own @ own.mean(axis=0)
        assert vectors[row] @ own.mean(axis=0) >= np.quantile(cosines, 0.8)


def test_typicality_is_that_of_the_paper() -> None:
    vectors, numbers = planted_clusters()
    picks = strategies.typical(vectors, np.arange(len(vectors)), NONE, 4, 0)
    own = vectors[numbers == 0].astype(np.float64)
    distances = np.sort(1 - own @ own.T, axis=1)[:, 1:21]
    assert picks.scores[0] == pytest.approx((1 / distances.mean(axis=1)).max(), rel=1e-4)


def test_clusters_with_a_known_image_come_last() -> None:
    vectors, numbers = planted_clusters()
    known = np.array([np.flatnonzero(numbers == 0)[0], np.flatnonzero(numbers == 2)[0]])
    free = np.setdiff1d(np.arange(len(vectors)), known)
    picks = strategies.typical(vectors, free, known, 2, 0)
    assert numbers[picks.rows].tolist() == [1, 3]


@pytest.mark.parametrize("strategy", [strategies.typical, strategies.central])
def test_only_candidates_and_as_many_as_asked_for(strategy) -> None:
    vectors, numbers = planted_clusters()
    candidates = np.flatnonzero(numbers != 0)[::2]
    for count in (1, 7, len(candidates)):
        rows = strategy(vectors, candidates, np.flatnonzero(numbers == 0)[:3], count, 0).rows
        assert len(set(rows.tolist())) == count and set(rows.tolist()) <= set(candidates.tolist())


def test_a_single_odd_image_is_not_among_the_first() -> None:
    vectors, _ = planted_clusters()
    odd = unit(-np.ones((1, 8)))
    vectors = np.concatenate([vectors, odd])
    rows = strategies.typical(vectors, np.arange(len(vectors)), NONE, 5, 0).rows.tolist()
    assert rows.index(len(vectors) - 1) == 4 if len(vectors) - 1 in rows else True
    assert strategies.diverse(vectors, np.arange(len(vectors)), NONE, 2).rows[1] == len(vectors) - 1


def _probe(vectors: NDArray[np.float32], numbers: NDArray[np.int64]) -> LinearProbe:
    taught = [np.flatnonzero(numbers == number)[0] for number in (0, 1)]
    return train(vectors[taught], ["a", "b"], Scaling.of(vectors))


def test_uncertain_chooses_between_the_classes() -> None:
    vectors, numbers = planted_clusters(0.05)
    between = unit(np.eye(8)[[0]] + np.eye(8)[[1]] + np.random.default_rng(0).normal(0, 0.05, (40, 8)))
    vectors = np.concatenate([vectors[numbers < 2], between])
    numbers = np.concatenate([numbers[numbers < 2], np.full(40, 9)])
    probe = _probe(vectors, numbers)
    picks = uncertain(vectors, np.arange(len(vectors)), NONE, 3, 0, probe)
    assert set(numbers[picks.rows].tolist()) <= {9}
    probabilities = np.sort(probe.probabilities(vectors[picks.rows]), axis=1)
    np.testing.assert_allclose(picks.scores, 1 - (probabilities[:, -1] - probabilities[:, -2]), atol=1e-5)


def test_uncertain_takes_one_of_many_copies() -> None:
    vectors, numbers = planted_clusters(0.05)
    middle = unit(np.eye(8)[[0]] + np.eye(8)[[1]])
    vectors = np.concatenate([vectors[numbers < 2], np.repeat(middle, 20, axis=0)])
    probe = _probe(vectors, np.concatenate([numbers[numbers < 2], np.full(20, 9)]))
    rows = uncertain(vectors, np.arange(len(vectors)), NONE, 3, 0, probe).rows
    assert (rows >= len(vectors) - 20).sum() == 1


def test_all_images_can_be_asked_for() -> None:
    vectors, numbers = planted_clusters()
    every = np.arange(len(vectors))
    for rows in (
        strategies.at_random(every, len(every), 0).rows,
        strategies.diverse(vectors, every, NONE, len(every)).rows,
        uncertain(vectors, every, NONE, len(every), 0, _probe(vectors, numbers)).rows,
    ):
        assert sorted(rows.tolist()) == every.tolist()
