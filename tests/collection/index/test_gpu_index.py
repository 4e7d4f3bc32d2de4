"""The GPU's results against the CPU's; and what is said where there is no GPU."""

import threading

import numpy as np
import pytest

from simsiam_retrieval import Collection, UserError
from simsiam_retrieval.collection.index import gpu_index
from simsiam_retrieval.collection.index.gpu_index import placed
from simsiam_retrieval.collection.index.vector_index import VectorIndex


def unit(count: int, dim: int = 64) -> np.ndarray:
    vectors = np.random.default_rng(1).standard_normal((count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("kind", "float16", "tolerance"), [("flat", False, 1e-5), ("flat", True, 2e-3), ("ivf", False, 1e-5)]
)
def test_a_gpu_finds_what_the_cpu_finds(kind, float16, tolerance) -> None:
    vectors, ids = unit(20_000), 7 * np.arange(20_000, dtype=np.int64)
    index = VectorIndex.build(ids, vectors, 1, kind)
    there = placed(index, "cuda", float16=float16)
    queries = unit(300)[200:]
    scores, found = index.search(queries, 10)
    gpu_scores, gpu_found = there.search(queries, 10)
    np.testing.assert_allclose(gpu_scores, scores, atol=tolerance)
    assert (gpu_found == found).mean() > (0.95 if float16 else 0.999)  # but for ties
    results: dict[int, np.ndarray] = {}

    def search(number: int) -> None:
        results[number] = there.search(queries, 10)[1]

    threads = [threading.Thread(target=search, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8 and all(np.array_equal(result, gpu_found) for result in results.values())
    few = ids[100:130]
    np.testing.assert_array_equal(there.search(queries, 5000)[0].shape, (100, 5000))
    if kind == "flat":
        np.testing.assert_array_equal(there.search(queries, 5, few)[1], index.search(queries, 5, few)[1])


def test_where_there_is_no_gpu(collection_dir, monkeypatch) -> None:
    monkeypatch.setattr(gpu_index, "gpus", lambda: 0)
    with pytest.raises(UserError, match="FAISS sees no GPU"):
        Collection.open(collection_dir, device="cuda")
    with pytest.raises(UserError, match="choose one of cpu, cuda, auto"):
        Collection.open(collection_dir, device="tpu")
    with Collection.open(collection_dir, device="auto") as collection:
        query = collection.vectors()[1][0]
        assert collection.search(query, 3)[0].score == pytest.approx(1, abs=1e-5)


def test_what_cannot_go_to_a_gpu(monkeypatch) -> None:
    monkeypatch.setattr(gpu_index, "gpus", lambda: 1)
    monkeypatch.setattr(gpu_index, "WORTHWHILE", 10)
    index = VectorIndex.build(np.arange(3000), unit(3000), 1, "hnsw")
    assert placed(index, "auto") is index
    with pytest.raises(UserError, match="no hnsw"):
        placed(index, "cuda")
