"""Lists of int8 values against float64: scores, what is added later, the copy for a GPU, files of older versions."""

from pathlib import Path

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from simsiam_retrieval.collection.index import index_types, int8_lists
from simsiam_retrieval.collection.index.tuning import tune
from simsiam_retrieval.collection.index.vector_index import VectorIndex

COUNT, DIM = 3000, 64


def unit_rows(count: int, seed: int, *, largest: float = 0) -> NDArray[np.float32]:
    """Unit vectors round 30 directions; ``largest``: what is added to the first value, as of an unwhitened encoder."""
    centres = np.random.default_rng(0).standard_normal((30, DIM))
    draw = np.random.default_rng(seed)
    found = centres[draw.integers(0, 30, count)] + 0.6 * draw.standard_normal((count, DIM))
    found[:, 0] += largest
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def ids() -> NDArray[np.int64]:
    return 7 + 2 * np.arange(COUNT, dtype=np.int64)


@pytest.mark.parametrize("largest", [0, 8])
def test_scores_are_those_of_float64_but_for_rounding(ids, largest) -> None:
    vectors, queries = unit_rows(COUNT, 1, largest=largest), unit_rows(20, 2, largest=largest)
    index = VectorIndex.build(ids, vectors, 1, "ivf-sq8")
    index.faiss_index.nprobe = index.faiss_index.nlist  # pyright: ignore[reportAttributeAccessIssue]
    scores, found = index.search(queries, 40)
    exact = queries.astype(np.float64) @ vectors.astype(np.float64).T
    np.testing.assert_allclose(scores, np.take_along_axis(exact, (found - 7) // 2, 1), atol=0.02)
    assert (np.diff(scores, axis=1) <= 0).all()
    for row in range(20):
        best = set(ids[np.argsort(-exact[row])[:10]].tolist())
        assert len(best & set(found[row].tolist())) >= 9  # among four times as many candidates
    few = ids[5:400:7]
    _, some = index.search(queries, 10, few)
    assert np.isin(some, few).all()
    assert not index.search(np.zeros((1, DIM), np.float32), 5)[0].any()


def test_recall_is_measured_with_rounded_queries(ids) -> None:
    vectors = unit_rows(COUNT, 1)
    index = VectorIndex.build(ids, vectors, 1, "ivf-sq8")
    measured = tune(index.faiss_index, ids, vectors, 1.0, index.rescored)
    assert measured.recall == 1 and measured.kind == "ivf-sq8"
    assert tune(index.faiss_index, ids, vectors, 0.5, index.rescored).settings["nprobe"] < measured.settings["nprobe"]


def test_larger_values_that_come_later_are_clipped(ids) -> None:
    """FAISS's own encoding would wrap around: 130 would become -126."""
    vectors = unit_rows(COUNT, 1)
    index = VectorIndex.build(ids, vectors, 1, "ivf-sq8")
    peak = np.eye(DIM, dtype=np.float32)[:2] * np.array([[1], [-1]], np.float32)
    late = index.become(2, ids[:3], np.array([2, 4], np.int64), peak)
    assert late.holds(np.sort(np.concatenate([ids[3:], [2, 4]])), DIM)
    held = late.vectors([2, 4])
    assert (np.sign(held[[0, 1], [0, 1]]) == [1, -1]).all() and np.count_nonzero(held) == 2
    assert late.search(peak[:1], 1)[1][0, 0] == 2


def test_the_copy_for_a_gpu_gives_the_same_scores(ids) -> None:
    vectors, queries = unit_rows(COUNT, 1), unit_rows(20, 2)
    index = VectorIndex.build(ids, vectors, 1, "ivf-sq8")
    lists = index.faiss_index
    assert isinstance(lists, faiss.IndexIVF)
    lists.nprobe = 5
    copy = int8_lists.as_floats(lists)
    assert len(copy_ids := index_types.stored_ids(copy)) == COUNT and set(copy_ids.tolist()) == set(ids.tolist())
    np.testing.assert_allclose(copy.search(queries, 10)[0], index.search(queries, 10)[0], atol=0.02)


def test_lists_of_an_older_version_are_searched_and_replaced(ids, tmp_path: Path) -> None:
    vectors, queries = unit_rows(COUNT, 1), unit_rows(20, 2)
    older = index_types.inverted_lists("ivf-sq8", DIM, 20)
    older.train(vectors)
    older.add_with_ids(vectors, ids)
    older.nprobe = 20
    VectorIndex(older, 3).save(tmp_path)
    loaded = VectorIndex.load(tmp_path, 3)
    assert loaded is not None and loaded.kind == "ivf-sq8" and loaded.rounded
    exact = queries @ vectors.T
    scores, found = loaded.search(queries, 5)
    np.testing.assert_allclose(scores, np.take_along_axis(exact, (found - 7) // 2, 1), atol=0.02)
    np.testing.assert_allclose(loaded.vectors(ids[:9].tolist()), vectors[:9], atol=0.02)
    assert not loaded.can_become("ivf-sq8", ids)
    assert VectorIndex.build(ids, vectors, 3, "ivf-sq8").can_become("ivf-sq8", ids)
