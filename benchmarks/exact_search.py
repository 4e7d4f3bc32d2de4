"""Exact search by two versions of this repository, in turns in one process.

    python benchmarks/exact_search.py BEFORE [--count N] [--dim D] [--vectors FILE.npy] [--rounds R] [--out FILE]

BEFORE is a checkout of another commit (``git worktree add BEFORE COMMIT``). Both search the same vectors: those of
``search_speed.points``, clustered as those of photos are, or those of a file. Timed: one query at a time, without
and with a filter, and batches of 100. Results of the present version are compared with float64 products first; one
difference ends the program. Medians over all rounds, in wall-clock and CPU milliseconds.
"""

import argparse
import importlib
import json
import os
import platform
import statistics
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from hardware import processor
from index_versions import commit
from numpy.typing import NDArray
from result_file import write_result

HERE = Path(__file__).parents[1]
K = 10
SINGLE, BATCH = 20, 100
SHARES = (0.01, 0.1, 0.5)
BLOCK = 50_000


def index_class(checkout: Path) -> Any:
    """``VectorIndex`` of a checkout; other checkouts' stay usable."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "simsiam_retrieval"]:
        del sys.modules[name]
    sys.path.insert(0, str(checkout))
    try:
        module = importlib.import_module("simsiam_retrieval.collection.index.vector_index")
    finally:
        sys.path.remove(str(checkout))
    assert Path(module.__file__ or "").is_relative_to(checkout), module.__file__
    return module.VectorIndex


def points(count: int, dim: int, seed: int) -> NDArray[np.float32]:
    """As ``search_speed.points``, which needs torch: 64 latent dimensions, 300 soft groups, noise."""
    shared = np.random.default_rng(0)
    centres = shared.standard_normal((300, 64), dtype=np.float32)
    spread = shared.standard_normal((64, dim), dtype=np.float32) / 8
    generator = np.random.default_rng(seed)
    found = np.empty((count, dim), np.float32)
    for start in range(0, count, BLOCK):
        rows = min(BLOCK, count - start)
        inner = centres[generator.integers(0, 300, rows)] + generator.standard_normal((rows, 64), np.float32)
        block = inner @ spread + 0.2 * generator.standard_normal((rows, dim), np.float32)
        found[start : start + rows] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return found


def check(
    index: Any, vectors: NDArray[np.float32], queries: NDArray[np.float32], ids: NDArray[np.int64] | None
) -> None:
    """Compare with float64, one query at a time."""
    rows = np.arange(len(vectors)) if ids is None else ids
    exact = np.empty((len(queries), len(rows)))
    for start in range(0, len(rows), BLOCK):
        part = rows[start : start + BLOCK]
        exact[:, start : start + len(part)] = queries.astype(np.float64) @ vectors[part].astype(np.float64).T
    for query, scores in zip(queries, exact, strict=True):
        found_scores, found = index.search(query[None], K, ids)
        best = np.sort(scores)[::-1][:K]
        np.testing.assert_allclose(found_scores[0], best, atol=2e-7)
        np.testing.assert_allclose(scores[np.searchsorted(rows, found[0])], best, atol=1e-12)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--vectors", type=Path, help="unit vectors, float32 (n, dim), whose last 120 are the queries")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.vectors is None:
        vectors = points(options.count + BATCH + SINGLE, options.dim, 1)
    else:
        vectors = np.load(options.vectors)
    vectors, queries = vectors[: -BATCH - SINGLE], vectors[-BATCH - SINGLE :]
    single, batch = queries[:SINGLE], queries[SINGLE:]
    ids = np.arange(len(vectors), dtype=np.int64)
    checkouts = {"before": options.before.resolve(), "now": HERE}
    engines = {name: index_class(checkout).build(ids, vectors, 1) for name, checkout in checkouts.items()}
    draw = np.random.default_rng(5)
    cases: dict[str, NDArray[np.int64] | None] = {"one query": None}
    cases |= {f"one query, {100 * share:g} % pass": ids[draw.random(len(ids)) < share] for share in SHARES}
    engines["now"].search(single[:1], K)
    began = time.process_time()
    engines["now"].search(single[:1], K)  # makes the int8 copies
    copies = time.process_time() - began
    for among in cases.values():
        check(engines["now"], vectors, single[:5], among)
    taken: dict[str, dict[str, list[tuple[float, float]]]] = {
        case: {name: [] for name in engines} for case in [*cases, f"batch of {BATCH}"]
    }
    for number in range(options.rounds):
        for case in taken:
            for name in list(engines)[:: 1 if number % 2 == 0 else -1]:
                asked = [batch] if case not in cases else [query[None] for query in single]
                for query in asked:
                    wall, cpu = time.perf_counter(), time.process_time()
                    engines[name].search(query, K, cases.get(case))
                    taken[case][name].append((time.perf_counter() - wall, time.process_time() - cpu))
    rows = {
        case: {
            name: {
                "ms": round(1000 * statistics.median(wall for wall, _ in found), 3),
                "cpu_ms": round(1000 * statistics.median(cpu for _, cpu in found), 3),
            }
            for name, found in both.items()
        }
        for case, both in taken.items()
    }
    for both in rows.values():
        both["now_by_before"] = {key: round(both["now"][key] / both["before"][key], 3) for key in ("ms", "cpu_ms")}
    result = {
        "vectors": len(vectors),
        "values": vectors.shape[1],
        "kind": "of search_speed.points" if options.vectors is None else "of a file",
        "rounds": options.rounds,
        "k": K,
        "making int8 copies, cpu_s": round(copies, 2),
        "cases": rows,
        "processor": processor(),
        "cpus": os.cpu_count(),
        "versions": {name: version(name) for name in ("numpy", "faiss-gpu")},
        "python": platform.python_version(),
        "commits": {name: commit(checkout) for name, checkout in checkouts.items()},
    }
    print(json.dumps(result, indent=1))
    write_result(result, options.out)


if __name__ == "__main__":
    main()
