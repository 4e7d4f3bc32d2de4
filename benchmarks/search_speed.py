"""Searching 100,000 or 1,000,000 vectors: FAISS types beside hnswlib, usearch, torch and numpy, in turns.

``search_speed.py [--count N] [--dim D] [--only NAME…] [--rounds R] [--out FILE.json]``

Vectors lie as those of photos do, in a few hundred soft groups on a space of fewer dimensions than they have values
(64 latent dimensions, and noise). Queries are new points of the same kind. Every approximate engine is tuned upwards
until recall@10 on 200 *other* queries is at least ``--recall``; its recall on the timed queries is then reported.
One query at a time, and batches of 1,000; medians over rounds in which all engines take their turn.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch  # before FAISS, where both are in one process
from hardware import processor
from numpy.typing import NDArray

import faiss  # isort: skip

from simsiam_retrieval.collection.index.index_types import build
from simsiam_retrieval.collection.index.tuning import tune
from simsiam_retrieval.collection.index.vector_index import VectorIndex

Search = Callable[[NDArray[np.float32]], NDArray[np.int64]]  # queries (n, dim) -> rows (n, 10)
K = 10
FAISS_TYPES = ("flat", "float16", "ivf", "ivf-sq8", "hnsw")
EXACT = ("flat", "float16", "torch", "numpy")


def points(count: int, dim: int, seed: int, latent: int = 64, groups: int = 300) -> NDArray[np.float32]:
    """Unit vectors (count, dim) of the kind described above."""
    shared = np.random.default_rng(0)
    centres = shared.standard_normal((groups, latent), dtype=np.float32)
    spread = shared.standard_normal((latent, dim), dtype=np.float32) / latent**0.5
    generator = np.random.default_rng(seed)
    found = np.empty((count, dim), np.float32)
    for start in range(0, count, 50_000):
        rows = min(50_000, count - start)
        inner = centres[generator.integers(0, groups, rows)] + generator.standard_normal((rows, latent), np.float32)
        block = inner @ spread + 0.2 * generator.standard_normal((rows, dim), np.float32)
        found[start : start + rows] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return found


def recall(found: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    return statistics.fmean(len(set(a) & set(b)) / K for a, b in zip(found.tolist(), truth.tolist(), strict=True))


class Engine:
    """A built index, tuned."""

    def __init__(self, name: str, search: Search, seconds: float, settings: object = None) -> None:
        self.name, self.search, self.seconds, self.settings = name, search, seconds, settings
        self.single: list[float] = []
        self.batch: list[float] = []


def make(name: str, vectors: NDArray[np.float32], asked: float, tuning, truth) -> Engine:
    count, dim = vectors.shape
    ids = np.arange(count, dtype=np.int64)
    start = time.perf_counter()
    if name in FAISS_TYPES:
        index = VectorIndex(build(name, ids, vectors), 1)
        seconds = time.perf_counter() - start
        rescored = 4 if index.rounded else 1
        settings = {} if index.exact else tune(index.faiss_index, ids, vectors, asked, rescored).settings

        def search(queries: NDArray[np.float32]) -> NDArray[np.int64]:
            found = index.search(queries, K * rescored)[1]
            if rescored == 1:
                return found
            scores = np.einsum("nkd,nd->nk", vectors[found], queries)  # as a collection does, from its catalog
            return np.take_along_axis(found, np.argsort(-scores, axis=1)[:, :K], 1)

        return Engine(name, search, seconds, settings)
    if name == "torch":
        database = torch.from_numpy(vectors)

        def by_torch(queries: NDArray[np.float32]) -> NDArray[np.int64]:
            asked_for = torch.from_numpy(queries)
            best, rows = torch.full((len(queries), 0), -1.0), torch.zeros((len(queries), 0), dtype=torch.int64)
            for at in range(0, count, 65_536):
                scores, found = torch.topk(asked_for @ database[at : at + 65_536].T, K)
                best, rows = torch.cat([best, scores], 1), torch.cat([rows, found + at], 1)
                best, order = torch.topk(best, K)
                rows = torch.gather(rows, 1, order)
            return rows.numpy()

        return Engine(name, by_torch, time.perf_counter() - start)
    if name == "numpy":

        def by_numpy(queries: NDArray[np.float32]) -> NDArray[np.int64]:
            best, rows = np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64)
            for at in range(0, count, 65_536):
                scores = queries @ vectors[at : at + 65_536].T
                found = np.argpartition(-scores, K, axis=1)[:, :K]
                best = np.hstack([best, np.take_along_axis(scores, found, 1)])
                rows = np.hstack([rows, found + at])
                order = np.argsort(-best, axis=1)[:, :K]
                best, rows = np.take_along_axis(best, order, 1), np.take_along_axis(rows, order, 1)
            return rows

        return Engine(name, by_numpy, time.perf_counter() - start)
    if name == "hnswlib":
        import hnswlib  # pyright: ignore[reportMissingImports]

        graph = hnswlib.Index(space="ip", dim=dim)
        graph.init_index(max_elements=count, M=32, ef_construction=80)
        graph.add_items(vectors, num_threads=os.cpu_count() or 1)
        seconds = time.perf_counter() - start
        search = lambda queries: graph.knn_query(queries, K)[0].astype(np.int64)  # noqa: E731
        return Engine(name, search, seconds, raised(graph.set_ef, search, tuning, truth, asked))
    if name == "usearch":
        from usearch.index import Index  # pyright: ignore[reportMissingImports]

        other = Index(ndim=dim, metric="ip", dtype="f32", connectivity=32, expansion_add=80)
        other.add(ids, vectors, threads=os.cpu_count() or 1)
        seconds = time.perf_counter() - start

        def by_usearch(queries: NDArray[np.float32]) -> NDArray[np.int64]:
            return np.atleast_2d(other.search(queries, K).keys.astype(np.int64))

        def set_expansion(value: int) -> None:
            other.expansion_search = value

        return Engine(name, by_usearch, seconds, raised(set_expansion, by_usearch, tuning, truth, asked))
    raise SystemExit(f"no engine {name}")


def raised(set_to: Callable[[int], None], search: Search, tuning, truth, asked: float) -> dict[str, int]:
    """Raise a graph's search breadth until the recall is reached."""
    breadth = 16
    while True:
        set_to(breadth)
        if recall(search(tuning), truth) >= asked or breadth >= 1024:
            return {"efSearch": breadth}
        breadth *= 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--recall", type=float, default=0.95)
    parser.add_argument("--only", nargs="*", default=[*FAISS_TYPES, "hnswlib", "usearch", "torch", "numpy"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()

    vectors = points(given.count, given.dim, seed=1)
    queries, tuning = points(1000, given.dim, seed=2), points(200, given.dim, seed=3)
    truth, tuning_truth = (
        faiss.knn(asked, vectors, K, metric=faiss.METRIC_INNER_PRODUCT)[1] for asked in (queries, tuning)
    )
    engines = []
    for name in given.only:
        engines.append(make(name, vectors, given.recall, tuning, tuning_truth))
        print(f"built {name} in {engines[-1].seconds:.1f} s {engines[-1].settings or ''}", flush=True)
    for _ in range(given.rounds):
        for engine in engines:
            for query in queries[:20]:
                start = time.perf_counter()
                engine.search(query[None])
                engine.single.append(1000 * (time.perf_counter() - start))
            start = time.perf_counter()
            engine.search(queries)
            engine.batch.append(time.perf_counter() - start)
    rows = [
        {
            "engine": engine.name,
            "settings": engine.settings,
            "recall@10": round(recall(engine.search(queries), truth), 4),
            "one query, ms": round(statistics.median(engine.single), 3),
            "1,000 queries, s": round(statistics.median(engine.batch), 3),
            "build, s": round(engine.seconds, 1),
        }
        for engine in engines
    ]
    about = {
        "vectors": given.count,
        "values": given.dim,
        "recall asked": given.recall,
        "rounds": given.rounds,
        "processor": processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "faiss": faiss.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
    print(json.dumps(about))
    print("| engine | recall@10 | one query, ms | 1,000 queries, s | build, s |")
    print("| --- | --: | --: | --: | --: |")
    for row in rows:
        cells = [row[name] for name in ("engine", "recall@10", "one query, ms", "1,000 queries, s", "build, s")]
        print(f"| {' | '.join(map(str, cells))} |")
    if given.out:
        given.out.write_text(json.dumps({**about, "engines": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
