"""Approximate search: which library, and which type of index, answers most queries with one thread?

    python benchmarks/search_race.py VECTORS.npy NAME… --place FOLDER [--count N] [--recall R]

VECTORS are unit vectors, for example those of ``real_vectors.py``, in any order. 1,200 of them are drawn as queries:
200 choose each contender's setting (the fastest that reaches the recall@10), the other 1,000 are measured. If there are
fewer than ``--count``, the rest is made of them: a vector plus half the difference of two others of its k-means cell
(50 vectors a cell), so that density and local directions are those of real vectors. Every contender is a process of its
own with one thread. Its result is a file in FOLDER, so a run that was stopped goes on.

NAME is a name of ``search_racers.py``, with a number of lists or links, and more: ``rabitq/2000/32,5,s``.
"""

import argparse
import ctypes
import gc
import json
import os
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from hardware import processor
from numpy.typing import NDArray

K, TUNED_ON, MEASURED_ON, REPEATS = 10, 200, 1000, 3
CELL, BLOCK = 50, 8192
PACKAGES = {"ngt": "ngt", "svs": "scalable-vs", "symqg": "rabitqlib"}


def prepare(source: Path, count: int, place: Path) -> None:
    """Vectors, their 16-bit copies, queries and their ten nearest, each as a file."""
    import faiss

    place.mkdir(parents=True, exist_ok=True)
    if (place / "truth.npy").exists():
        return
    real = np.load(source)
    real = real[np.random.default_rng(7).permutation(len(real))]
    queries, real = real[: TUNED_ON + MEASURED_ON], real[TUNED_ON + MEASURED_ON :]
    vectors = real[:count] if len(real) >= count else np.concatenate([real, made_of(real, count - len(real))])
    np.save(place / "vectors.npy", vectors)
    np.save(place / "queries.npy", queries)
    short = np.lib.format.open_memmap(place / "short.npy", "w+", np.int16, vectors.shape)
    for at in range(0, count, BLOCK):
        block = vectors[at : at + BLOCK]
        short[at : at + BLOCK] = np.rint(block * (32_767 / np.abs(block).max(1, keepdims=True)))
    short.flush()
    (place / "real.txt").write_text(str(min(len(real), count)))
    np.save(place / "truth.npy", faiss.knn(queries, vectors, K, metric=faiss.METRIC_INNER_PRODUCT)[1])


def made_of(real: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Unit vectors like real ones; see above."""
    import faiss

    groups = faiss.Kmeans(real.shape[1], int((len(real) / CELL) ** 0.5), niter=5, seed=1, spherical=True)
    groups.train(real)
    group = groups.index.search(real, 1)[1][:, 0]
    cell = np.empty(len(real), np.int64)
    for number in range(groups.k):  # cells within groups: one k-means of thousands of cells would take minutes
        inside = np.flatnonzero(group == number)
        smaller = faiss.Kmeans(real.shape[1], max(1, len(inside) // CELL), niter=5, seed=1, spherical=True)
        smaller.train(real[inside])
        cell[inside] = smaller.index.search(real[inside], 1)[1][:, 0] + number * len(real)
    order = np.argsort(cell, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(cell[order]) > 0])
    sizes = np.diff(np.r_[starts, len(order)])
    draw, found = np.random.default_rng(11), np.empty((count, real.shape[1]), np.float32)
    for at in range(0, count, BLOCK):
        rows = min(BLOCK, count - at)
        which = np.repeat(np.arange(len(starts)), sizes)[draw.integers(0, len(order), rows)]
        one, two, three = (order[starts[which] + (draw.random(rows) * sizes[which]).astype(np.int64)] for _ in range(3))
        block = real[one] + 0.5 * (real[two] - real[three])
        found[at : at + rows] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return found


def anonymous_mib() -> float:
    """Memory of this process that no file backs, MiB."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def peak_mib() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def recall(found: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    return float(np.mean([len(set(a) & set(b)) / K for a, b in zip(found.tolist(), truth.tolist(), strict=True)]))


def run(name: str, place: Path, asked: float) -> dict:
    """Build and measure one contender; the calling process is its own."""
    import faiss
    from search_racers import RACERS, Mapped

    faiss.omp_set_num_threads(1)
    kind, _, rest = name.partition("/")
    lists, _, rest = rest.partition("/")
    queries, truth = np.load(place / "queries.npy"), np.load(place / "truth.npy")
    mapped = Mapped(place / "short.npy")
    before = anonymous_mib()
    vectors = np.load(place / "vectors.npy")
    began = time.process_time()
    racer = RACERS[kind](vectors, mapped, int(lists or 0), rest)
    build = time.process_time() - began
    shape = vectors.shape
    del vectors
    chosen, reached = None, 0.0
    for setting in racer.settings:
        racer.use(setting)
        racer.search(queries[:1])
        now = recall(racer.search(queries[:TUNED_ON]), truth[:TUNED_ON])
        chosen, reached = setting, now
        if reached >= asked:
            break
    asked_of = queries[TUNED_ON:]
    found = racer.search(asked_of)
    memory = anonymous_mib() - before
    single, batch = [], []
    for _ in range(REPEATS):
        began = time.process_time()
        for query in asked_of[:300]:
            racer.search(query[None])
        single.append((time.process_time() - began) / 300)
        began = time.process_time()
        racer.search(asked_of)
        batch.append((time.process_time() - began) / len(asked_of))
    return {
        "name": name,
        "vectors": shape[0],
        "values": shape[1],
        "real vectors": int((place / "real.txt").read_text()),
        "setting": chosen,
        "recall@10": round(recall(found, truth[TUNED_ON:]), 4),
        "one query, CPU ms": round(1000 * sorted(single)[REPEATS // 2], 4),
        "of 1,000 at once, CPU ms": round(1000 * sorted(batch)[REPEATS // 2], 4),
        "build, CPU s": round(build, 1),
        "memory, MiB": round(memory),
        "peak, MiB": round(peak_mib()),
        "version": version(PACKAGES.get(kind, kind)) if kind not in OURS else f"faiss {faiss.__version__}",
        "processor": processor(),
    }


OURS = frozenset(("auto", "flat", "ivf-sq8", "hnsw", "rabitq", "sq8", "int8", "panorama", "rabitq-alone"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vectors", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--place", type=Path, required=True)
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--recall", type=float, default=0.95)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=900, help="a contender that takes longer is left out")
    options = parser.parse_args()
    if options.one:
        result = run(options.one, options.place, options.recall)
        (options.place / f"{options.one.replace('/', '+')}.json").write_text(json.dumps(result, indent=1) + "\n")
        return
    prepare(options.vectors, options.count, options.place)
    for name in options.names:
        file = options.place / f"{name.replace('/', '+')}.json"
        if not file.exists():
            command = [sys.executable, *sys.argv, "--one", name]
            try:
                environment = {**os.environ, "OMP_NUM_THREADS": "1"}
                ended = subprocess.run(
                    command, env=environment, timeout=options.seconds, capture_output=True, text=True, check=False
                )
                failure = ended.stderr.strip().splitlines()[-1:] if ended.returncode else None
            except subprocess.TimeoutExpired:
                failure = [f"took more than {options.seconds:.0f} s"]
            if failure is not None:
                file.write_text(json.dumps({"name": name, "failed": failure}) + "\n")
        print(file.read_text().replace("\n", " "), flush=True)
    table(options.place)


def table(place: Path) -> None:
    found = [json.loads(file.read_text()) for file in sorted(place.glob("*.json"))]
    keys = ("recall@10", "one query, CPU ms", "of 1,000 at once, CPU ms", "build, CPU s", "memory, MiB")
    print(f"| contender | {' | '.join(keys)} |\n| --- |{' --: |' * len(keys)}")
    for each in sorted((each for each in found if "failed" not in each), key=lambda each: each[keys[2]]):
        print(f"| {each['name']} | {' | '.join(str(each[key]) for key in keys)} |")


if __name__ == "__main__":
    main()
