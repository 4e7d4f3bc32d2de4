"""The representative choice beside numpy's full matrices, and on graphs whose gains are known."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from simsiam_retrieval.collection.explore.few_shot_classifier import Scaling, train
from simsiam_retrieval.collection.selection import representative_images as module
from simsiam_retrieval.collection.selection.representative_images import representative
from tests.support.planted_clusters import planted_clusters, unit

NONE = np.zeros(0, np.int64)


def _kernel(vectors: NDArray, k: int) -> NDArray[np.float64]:
    """Two steps of the walk, with all n x n cosines."""
    cosines = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    np.fill_diagonal(cosines, -2)
    joined = np.zeros_like(cosines)
    np.put_along_axis(joined, np.argsort(-cosines, axis=1)[:, :k], 1, axis=1)
    joined = np.maximum(joined, joined.T)
    degrees = joined.sum(axis=1)
    step = joined / np.sqrt(np.outer(degrees, degrees))
    return step @ step


def _weights(vectors: NDArray, k: int) -> NDArray[np.float64]:
    """Square root of the mean distance to k neighbours, half to twice the median, of mean 1."""
    cosines = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    np.fill_diagonal(cosines, -2)
    found = np.sqrt((1 - np.sort(cosines, axis=1)[:, -k:]).mean(axis=1))
    found = np.clip(found, np.median(found) / 2, np.median(found) * 2)
    return found / found.mean()


@pytest.mark.parametrize("known", [[], [3, 50]])
def test_it_is_greedy_facility_location_on_walks_of_two_steps(known: list[int]) -> None:
    vectors, _ = planted_clusters(0.4)
    candidates = [row for row in range(0, len(vectors), 2) if row not in known]
    picks = representative(vectors, np.array(candidates), np.array(known, np.int64), 12, 0)
    everyone = sorted({*candidates, *known})
    place = {row: position for position, row in enumerate(everyone)}
    near = _kernel(vectors[everyone], math.isqrt(len(everyone)))
    weights = _weights(vectors[everyone], math.isqrt(len(everyone)))
    covered = near[[place[row] for row in known]].max(axis=0) if known else np.zeros(len(everyone))
    left = list(candidates)
    for row, score in zip(picks.rows.tolist(), picks.scores.tolist(), strict=True):
        gains = {one: weights @ np.maximum(near[place[one]] - covered, 0) for one in left}
        assert gains[row] == pytest.approx(max(gains.values()), rel=1e-5)
        assert score == pytest.approx(max(gains.values()) / len(everyone), rel=1e-4)
        covered = np.maximum(covered, near[place[row]])
        left.remove(row)


def test_gains_of_cliques() -> None:
    """Within a clique of 16 all are neighbours: K is 15/225 for an image itself and 14/225 for each other one."""
    generator = np.random.default_rng(0)
    numbers = generator.permutation(np.repeat(np.arange(15), 16))
    vectors = unit(np.eye(20)[numbers] + generator.normal(0, 0.05, (240, 20)))
    weights = _weights(vectors, 15)
    members = [np.flatnonzero(numbers == number) for number in range(15)]
    gains = {int(of[weights[of].argmax()]): (14 * weights[of].sum() + weights[of].max()) / 225 for of in members}
    picks = representative(vectors, np.arange(240), NONE, 15, 0)
    assert picks.rows.tolist() == sorted(gains, key=lambda row: -gains[row])
    np.testing.assert_allclose(picks.scores * 240, sorted(gains.values(), reverse=True), rtol=1e-3)
    assert picks.reasons == ["stands for 16 images like it"] * 15


def test_a_walk_of_two_steps_along_a_chain() -> None:
    """Of a - b - c, two steps lead from a to a and c (1/2 each), and from b back to b (1)."""
    angles = np.array([0.0, 0.5, 1.1])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    picks = representative(vectors, np.arange(3), NONE, 3, 0)
    weights = np.sqrt(1 - np.cos([0.5, 0.5, 0.6]))
    weights /= weights.mean()
    assert picks.rows.tolist() == [0, 1, 2]
    np.testing.assert_allclose(picks.scores * 3, [(weights[0] + weights[2]) / 2, weights[1], 0], atol=1e-6)


def test_a_far_image_counts_at_most_twice() -> None:
    generator = np.random.default_rng(0)
    vectors = unit(np.r_[np.ones((99, 8)) + generator.normal(0, 0.05, (99, 8)), -np.eye(8)[:1]])
    graph = module._graph(vectors, np.arange(100), NONE, None)
    assert graph.weights[99] == pytest.approx(2 * np.median(graph.weights))
    assert graph.weights.mean() == pytest.approx(1)


def test_what_a_probe_is_sure_of_counts_less() -> None:
    """Of two crowds the probe is sure of one; that would come first without the probe, since it is less dense."""
    generator = np.random.default_rng(0)
    axes = np.eye(6)
    crowds = [axes[0], axes[1], 0.8 * axes[0] + 0.6 * axes[2], (axes[0] + axes[1]) / 2**0.5 + axes[3]]
    numbers = np.repeat(np.arange(4), 40)
    spread = np.array([0.05, 0.05, 0.06, 0.05])[numbers]
    vectors = unit(np.array(crowds)[numbers] + spread[:, None] * generator.normal(0, 1, (160, 6)))
    known = np.r_[np.arange(40), np.arange(40, 80)]
    probe = train(vectors[known], ["a"] * 40 + ["b"] * 40, Scaling.of(vectors))
    first = [representative(vectors, np.arange(80, 160), known, 1, 0, of).rows[0] for of in (None, probe)]
    assert numbers[first].tolist() == [2, 3]


def test_one_image_of_each_planted_cluster() -> None:
    vectors, numbers = planted_clusters()
    picks = representative(vectors, np.arange(len(vectors)), NONE, 5, 0)
    assert set(numbers[picks.rows[:5]].tolist()) == {0, 1, 2, 3}


def test_known_images_stand_for_what_is_like_them() -> None:
    vectors, numbers = planted_clusters()
    known = representative(vectors, np.arange(len(vectors)), NONE, 3, 0).rows
    free = np.setdiff1d(np.arange(len(vectors)), known)
    more = representative(vectors, free, known, 5, 0)
    assert (
        np.r_[known, more.rows].tolist() == representative(vectors, np.arange(len(vectors)), NONE, 8, 0).rows.tolist()
    )
    assert not set(numbers[known].tolist()) >= {0, 1, 2, 3}


def test_a_copy_counts_once_and_comes_last() -> None:
    vectors, _ = planted_clusters(0.4)
    alone = representative(vectors, np.arange(len(vectors)), NONE, len(vectors), 0)
    noise = np.random.default_rng(0).normal(0, 1e-7, (40, 8))  # as rounding leaves in copies that were embedded apart
    both = np.concatenate([vectors, unit(vectors[[5] * 30 + [9] * 10] + noise)])
    picks = representative(both, np.arange(len(both)), NONE, len(both), 0)
    assert picks.rows[: len(vectors)].tolist() == alone.rows.tolist()
    assert picks.rows[len(vectors) :].tolist() == list(range(len(vectors), len(both)))
    same = representative(np.repeat(vectors[:1], 30, axis=0), np.arange(30), NONE, 1, 0)
    assert same.reasons == ["stands for 30 images like it"]
    assert picks.scores[-1] == 0 and picks.reasons[-1] == "a copy of an image that was chosen before"
    # a copy of what is labelled is as good as labelled
    free = np.delete(np.arange(len(both)), 5)
    assert 100 not in representative(both, free, np.array([5]), len(vectors) - 1, 0).rows.tolist()


@pytest.mark.parametrize("size", [1, 2, 3])
def test_few_images(size: int) -> None:
    vectors = planted_clusters()[0][:size]
    assert sorted(representative(vectors, np.arange(size), NONE, size, 0).rows.tolist()) == list(range(size))
    same = np.repeat(vectors[:1], 3, axis=0)
    assert representative(same, np.arange(3), NONE, 3, 0).rows.tolist() == [0, 1, 2]


def test_an_image_near_all_others_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub joins every image with every other; the kernel is computed in blocks."""
    monkeypatch.setattr(module, "_BLOCK", 7)
    generator = np.random.default_rng(0)
    others = unit(generator.normal(0, 1, (300, 300)) + 1)
    vectors = np.concatenate([unit(others.mean(axis=0, keepdims=True)), others])
    picks = representative(vectors, np.arange(301), NONE, 301, 0)
    assert sorted(picks.rows.tolist()) == list(range(301))


def test_rounds_of_drawn_images(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, numbers = planted_clusters()
    monkeypatch.setattr(module, "DRAWN", 30)
    monkeypatch.setattr(module, "ROUND", 7)
    every = np.arange(len(vectors))
    picks = representative(vectors, every, NONE, len(vectors), 0)
    assert sorted(picks.rows.tolist()) == every.tolist()
    assert len(set(numbers[picks.rows[:8]].tolist())) == 4
    again = representative(vectors, every, NONE, len(vectors), 0)
    assert picks.rows.tolist() == again.rows.tolist()


def test_only_candidates_and_as_many_as_asked_for() -> None:
    vectors, numbers = planted_clusters()
    candidates = np.flatnonzero(numbers != 0)[::2]
    for count in (1, 7, len(candidates)):
        rows = representative(vectors, candidates, np.flatnonzero(numbers == 0)[:3], count, 0).rows
        assert len(set(rows.tolist())) == count and set(rows.tolist()) <= set(candidates.tolist())
