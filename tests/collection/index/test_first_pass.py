"""The exact search by int8 copies: against float64, with copies, filters and vectors that leave no proof."""

import numpy as np
import pytest

from simsiam_retrieval.collection.index import vector_index
from simsiam_retrieval.collection.index.first_pass import FirstPass
from simsiam_retrieval.collection.index.vector_index import VectorIndex

COUNT, DIM = 4000, 48


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    """Unit vectors in groups; every fifth one is a copy of another."""
    generator = np.random.default_rng(0)
    centres = generator.standard_normal((40, DIM))
    made = centres[generator.integers(0, 40, COUNT)] + 0.7 * generator.standard_normal((COUNT, DIM))
    made[::5] = made[generator.permutation(COUNT)[: len(made[::5])]]
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def expected(vectors: np.ndarray, query: np.ndarray, k: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """In float64; equal vectors have equal scores, and come by row."""
    scores = (vectors[rows].astype(np.float64) * query.astype(np.float64)).sum(axis=1)
    order = np.argsort(-scores, kind="stable")[:k]
    return scores[order], rows[order]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("k", [1, 10, 700, COUNT])
def test_what_is_proven_is_what_float64_finds(vectors, threads, k) -> None:
    first_pass = FirstPass(vectors, threads)
    generator = np.random.default_rng(1)
    queries = [*vectors[:3], *generator.standard_normal((2, DIM)).astype(np.float32)]  # the last are not unit vectors
    allowed = generator.random(COUNT) < 0.4
    for query in queries:
        for among in (None, allowed):
            rows = np.arange(COUNT) if among is None else np.flatnonzero(among)
            found = first_pass.nearest(query, min(k, len(rows)), among)
            assert found is not None
            scores, wanted = expected(vectors, query, k, rows)
            np.testing.assert_allclose(found[0], scores, atol=1e-12)
            np.testing.assert_array_equal(found[1], wanted)


def test_the_bound_holds_for_every_vector(vectors) -> None:
    first_pass = FirstPass(vectors, 2)
    for query in vectors[:20] * 3:
        exact = vectors.astype(np.float64) @ query.astype(np.float64)
        codes = np.rint(vectors / first_pass.steps) * first_pass.steps.astype(np.float64)
        off = np.abs(codes @ query.astype(np.float64) - exact).max()
        assert 0 < off <= first_pass.bound(query) < 0.1 * 3
        # and is not looser than the largest rounding of a value allows
        assert first_pass.bound(query) <= 3 * 0.5 * np.linalg.norm(first_pass.steps) * 1.01


def test_nothing_is_proven_where_all_are_nearly_equal() -> None:
    """More vectors within the bound than are looked at: the caller compares all, and is right."""
    generator = np.random.default_rng(2)
    near = np.eye(1, DIM) + 1e-4 * generator.standard_normal((12_000, DIM))
    near = (near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32)
    assert FirstPass(near, 2).nearest(near[7], 10) is None


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_damaged_vector_proves_nothing(vectors, value) -> None:
    damaged = vectors.copy()
    damaged[70, 3] = value
    assert FirstPass(damaged, 2).nearest(vectors[1], 10) is None
    damaged_query = vectors[1].copy()
    damaged_query[0] = np.nan
    assert FirstPass(vectors, 2).nearest(damaged_query, 10) is None


def test_an_index_uses_it_from_the_second_query_on(vectors, monkeypatch) -> None:
    monkeypatch.setattr(vector_index, "ROUNDED_FROM", COUNT * DIM)
    made: list[FirstPass] = []
    original = FirstPass.nearest
    monkeypatch.setattr(FirstPass, "nearest", lambda self, *given: made.append(self) or original(self, *given))
    ids = 5 + 2 * np.arange(COUNT, dtype=np.int64)
    index = VectorIndex.build(ids, vectors, 1)
    first = index.search(vectors[:1], 20)
    assert not made
    again = index.search(vectors[:1], 20)
    assert len(made) == 1
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    for share in (0.01, 0.5):
        among = ids[np.random.default_rng(3).random(COUNT) < share]
        scores, found = index.search(vectors[8:9], 20, among)
        wanted_scores, wanted = expected(vectors, vectors[8], 20, (among - 5) // 2)
        np.testing.assert_allclose(scores[0], wanted_scores, atol=1e-6)
        np.testing.assert_array_equal(found[0], 5 + 2 * wanted)
    assert len(made) == 2  # one per cent is compared at once
    smaller = VectorIndex.build(ids[1:], vectors[1:], 1)
    for _ in range(3):
        smaller.search(vectors[:1], 20)
    assert len(made) == 2
