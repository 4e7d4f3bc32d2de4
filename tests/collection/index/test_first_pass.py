"""The exact search by int8 copies: against float64, with copies, filters and vectors that leave no proof."""

import numpy as np
import pytest

from simsiam_retrieval.collection.index import first_pass, flat_vectors
from simsiam_retrieval.collection.index.first_pass import FirstPass
from simsiam_retrieval.collection.index.vector_index import VectorIndex

COUNT, DIM = 4000, 64


def made(dim: int) -> np.ndarray:
    """Unit vectors in groups; every fifth one is a copy of another."""
    generator = np.random.default_rng(0)
    centres = generator.standard_normal((40, dim))
    found = centres[generator.integers(0, 40, COUNT)] + 0.7 * generator.standard_normal((COUNT, dim))
    found[::5] = found[generator.permutation(COUNT)[: len(found[::5])]]
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return made(DIM)


def expected(vectors: np.ndarray, query: np.ndarray, k: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """In float64; equal vectors have equal scores, and come by row."""
    scores = (vectors[rows].astype(np.float64) * query.astype(np.float64)).sum(axis=1)
    order = np.argsort(-scores, kind="stable")[:k]
    return scores[order], rows[order]


@pytest.mark.parametrize("dim", [19, 32, 48, 64])  # FAISS has code of its own for multiples of 16 and of 32
@pytest.mark.parametrize("threads", [1, 3])
def test_what_is_proven_is_what_float64_finds(monkeypatch, threads, dim) -> None:
    monkeypatch.setattr(first_pass, "BLOCK", 700)
    vectors = made(dim)
    searched = FirstPass(vectors, threads)
    generator = np.random.default_rng(1)
    queries = [*vectors[:3], *generator.standard_normal((2, dim)).astype(np.float32)]  # the last are not unit vectors
    allowed = generator.random(COUNT) < 0.4
    for query in queries:
        for among in (None, allowed):
            rows = np.arange(COUNT) if among is None else np.flatnonzero(among)
            scores, wanted = expected(vectors, query, len(rows), rows)
            for k in (1, 10, 300, len(rows)):
                found = searched.nearest(query, k, among)
                assert found is not None
                np.testing.assert_allclose(found[0], scores[:k], atol=1e-12)
                np.testing.assert_array_equal(found[1], wanted[:k])


@pytest.mark.parametrize("dim", [48, 64])
def test_the_bound_holds_for_every_vector(dim) -> None:
    vectors = made(dim)
    searched = FirstPass(vectors, 2)
    for query in 3 * vectors[:20]:
        whole, unit, bound = searched.rounded(query)
        np.testing.assert_array_equal(whole, np.rint(whole))
        exact = vectors.astype(np.float64) @ query.astype(np.float64)
        codes = np.rint(vectors / searched.steps)
        off = np.abs(unit * (codes @ whole.astype(np.float64)) - exact).max()
        assert 0 < off <= bound < 0.2
        # and is not looser than rounding all values by half a step allows
        half = 0.5 * np.linalg.norm(searched.steps)
        query_half = 0.5 * unit * np.linalg.norm(1 / searched.steps)
        assert bound <= 1.01 * (3 * half + query_half * (1 + half))
        rows, _ = searched._candidates(whole[None], COUNT, None)
        assert sorted(rows.tolist()) == list(range(COUNT))
        order = np.argsort(-(codes @ whole), kind="stable")
        first, _ = FirstPass(vectors, 1)._candidates(whole[None], 5, None)
        assert set((codes @ whole)[first]) == set((codes @ whole)[order[:5]])  # FAISS's scores are these


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
    monkeypatch.setattr(flat_vectors, "ROUNDED_FROM", COUNT * DIM)
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
    made.clear()
    for count in (3, 9):
        for among in (None, ids[::2]):
            scores, found = index.search(vectors[20 : 20 + count], 6, among)
            assert scores.shape == found.shape == (count, 6)
            for row, query in enumerate(vectors[20 : 20 + count]):
                rows = np.arange(0, COUNT, 1 if among is None else 2)
                wanted_scores, _ = expected(vectors, query, 6, rows)
                np.testing.assert_allclose(scores[row], wanted_scores, atol=1e-6)
    unsorted = VectorIndex.build(ids[::-1], vectors[::-1], 1)
    for one, other in zip(
        unsorted.search(vectors[8:9], 5, ids[1::50]), index.search(vectors[8:9], 5, ids[1::50]), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-6)
    missing = np.concatenate([ids[3:6], ids[-1:] + 7])
    assert set(index.search(vectors[:1], 9, missing)[1][0].tolist()) == set(ids[3:6].tolist())
    assert index.search(vectors[:1], 9, missing[-1:])[1].shape == (1, 0)
    before = len(made)
    smaller = VectorIndex.build(ids[1:], vectors[1:], 1)
    for _ in range(3):
        smaller.search(vectors[:1], 20)
    assert len(made) == before
