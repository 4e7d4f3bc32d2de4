"""Rates, memory and recall at 1,000,000 and 10,000,000 vectors, from which docs/scale.md works out a billion.

``scale_simulation.py statistics PHOTOS`` embeds real photos with the shipped encoder and notes how their vectors lie;
``scale_simulation.py measure [--count N] [--lists L]`` generates vectors that lie so, indexes and searches them;
``scale_simulation.py embed PHOTOS`` measures what decoding and embedding a photo takes;
``scale_plan.py`` reads what was measured and writes the arithmetic for a billion.

**The vectors.** k-means (45 clusters) splits the covariance of the photos' vectors into a part between the clusters and
one within. A generated vector is mean + centre + offset: centres (one for every 1,000 vectors) are drawn with the
covariance between, offsets with the one within, both along the photos' own 256 strongest principal axes; then all is
turned by a random rotation, so that no axis is special, and scaled to unit length. ``statistics`` draws as many
generated vectors as there are photos and compares the cosines of random pairs and of nearest neighbours.

**The indexes.** One set of inverted lists for all: 8-bit scalars, product quantiser codes of 64 bytes, RaBitQ codes of
one bit a value. The two latter are searched for 100 candidates (--candidates), which are then compared exactly in
float16, as a serving node would read them from its SSD. Every block is generated, assigned, encoded three times and
thrown away, so 10 GB of vectors never exist. CPU seconds of one thread everywhere; other work may run beside it.
"""

import argparse
import json
import os
import platform
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import faiss
import numpy as np
from hardware import processor
from numpy.typing import NDArray
from scale_vectors import DIM, Generator, Vectors, statistics

RESULTS = Path(__file__).parent / "results" / "scale"
K, REFINED = 10, 100
BLOCK = 50_000
ASKED, CLOSE = 0.95, 0.01
QUERIES = 100  # to choose nprobe by, and as many others to report
PROBES = (4, 8, 16, 32, 64, 128, 256)


class Clock:
    """CPU seconds by what they went into."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def on(self, what: str) -> Iterator[None]:
        start = time.process_time()
        yield
        self.seconds[what] = self.seconds.get(what, 0.0) + time.process_time() - start


def embed(photos: Path) -> dict:
    """CPU milliseconds a photo, one thread."""
    from simsiam_retrieval import load_encoder

    files = sorted(path for path in photos.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))[:500]
    encoder = load_encoder(device="cpu", threads=1)
    clock = Clock()
    encoder.embed(files[:16])
    for start in range(0, len(files), 8):
        with clock.on("decode"):
            squares = np.stack([encoder.square(file) for file in files[start : start + 8]])
        with clock.on("embed"):
            encoder.embed_pixels(squares)
    sizes = [file.stat().st_size for file in files]
    spent = {what: round(1000 * seconds / len(files), 3) for what, seconds in clock.seconds.items()}
    return {"photos": len(files), "folder": photos.name, "mean_bytes": round(float(np.mean(sizes))), "cpu_ms": spent}


def measure(known: dict, count: int, lists: int, seed: int, refined_from: int) -> dict:
    faiss.omp_set_num_threads(1)
    clock = Clock()
    generator = Generator(known, count, seed)
    blocks = [(number, min(BLOCK, count - number * BLOCK)) for number in range(-(-count // BLOCK))]

    with clock.on("train: lists"):
        sample = min(count, 39 * lists)  # of the first blocks: rows are in no order
        training = np.concatenate([generator.block(number, BLOCK) for number in range(-(-sample // BLOCK))])[:sample]
        kmeans = faiss.Kmeans(DIM, lists, niter=10, seed=1, spherical=True, max_points_per_centroid=39)
        kmeans.train(training)
    coarse = faiss.IndexFlatIP(DIM)
    assert kmeans.centroids is not None
    coarse.add(kmeans.centroids)
    metric = faiss.METRIC_INNER_PRODUCT
    indexes = {
        "SQ8": faiss.IndexIVFScalarQuantizer(coarse, DIM, lists, faiss.ScalarQuantizer.QT_8bit, metric),
        "PQ64": faiss.IndexIVFPQ(coarse, DIM, lists, 64, 8, metric),
        "RaBitQ": faiss.IndexIVFRaBitQ(coarse, DIM, lists, metric),
    }
    indexes["RaBitQ"].qb = 8
    for name, index in indexes.items():
        with clock.on(f"train: {name}"):
            index.train(training[:65_536])
    del training
    empty = peak()

    queries = generator.block(10**9, 2 * QUERIES)
    best, truth = np.full((2 * QUERIES, K), -2, np.float32), np.zeros((2 * QUERIES, K), np.int64)
    for number, rows in blocks:
        with clock.on("generate"):
            vectors = generator.block(number, rows)
        with clock.on("assign"):
            cells = np.ascontiguousarray(coarse.search(vectors, 1)[1][:, 0])
        ids = np.arange(number * BLOCK, number * BLOCK + rows)
        for name, index in indexes.items():
            with clock.on(f"add: {name}"):
                pointers = [faiss.swig_ptr(array) for array in (vectors, ids, cells)]
                index.add_core(rows, *pointers)
        with clock.on("exact search"):
            scores, found = faiss.knn(queries, vectors, K, metric=metric)
        scores, found = np.hstack([best, scores]), np.hstack([truth, ids[found]])
        order = np.argsort(-scores, axis=1)[:, :K]
        best, truth = np.take_along_axis(scores, order, 1), np.take_along_axis(found, order, 1)
        if number % 20 == 19:
            print(f"{number * BLOCK + rows:,} of {count:,}", flush=True)
    full = peak()

    candidates: dict[tuple[str, int], NDArray[np.int64]] = {}
    seconds: dict[tuple[str, int], float] = {}
    for name, index in indexes.items():
        for probes in PROBES:
            index.nprobe = probes
            start = time.process_time()
            candidates[name, probes] = index.search(queries, K if name == "SQ8" else refined_from)[1]
            seconds[name, probes] = (time.process_time() - start) / len(queries)
    refined = exactly(generator, blocks, queries, candidates)
    rows = []
    for (name, probes), found in candidates.items():
        for how, ids in (("", found[:, :K]), (f", {refined_from} compared again", refined.get((name, probes)))):
            if ids is None:
                continue
            hits = np.array([len(set(a) & set(b)) / K for a, b in zip(ids.tolist(), truth.tolist(), strict=True)])
            rows.append(
                {
                    "index": f"IVF{lists},{name}{how}",
                    "nprobe": probes,
                    "recall@10, to choose": round(float(hits[:QUERIES].mean()), 4),
                    "recall@10": round(float(hits[QUERIES:].mean()), 4),
                    "cpu_ms_per_query": round(1000 * seconds[name, probes], 3),
                }
            )
    return {
        "vectors": count,
        "values": DIM,
        "lists": lists,
        "queries": QUERIES,
        "candidates": refined_from,
        "seed": seed,
        "threads": 1,
        "microseconds_per_vector": {
            what: round(1e6 * spent / count, 3) for what, spent in clock.seconds.items() if not what.startswith("train")
        },
        "train_seconds": {what: round(spent, 1) for what, spent in clock.seconds.items() if what.startswith("train")},
        "bytes_per_vector": {name: index.code_size + 8 for name, index in indexes.items()},
        "peak_rss_mib": {"before adding": round(empty), "all three indexes": round(full)},
        "exact_search_ms_per_query": round(1000 * clock.seconds["exact search"] / len(queries), 2),
        "cosine_of_10th": round(float(np.median(best[:, -1])), 4),
        "searches": rows,
        **machine(),
    }


def exactly(
    generator: Generator,
    blocks: list[tuple[int, int]],
    queries: Vectors,
    candidates: dict[tuple[str, int], NDArray[np.int64]],
) -> dict[tuple[str, int], NDArray[np.int64]]:
    """The best K of the candidates of all but SQ8, by their float16 vectors, which are generated once more."""
    asked = {key: found for key, found in candidates.items() if found.shape[1] > K}
    wanted = np.unique(np.concatenate([found.ravel() for found in asked.values()]))
    wanted = wanted[wanted >= 0]
    held = np.empty((len(wanted), DIM), np.float16)
    for number, rows in blocks:
        low, high = np.searchsorted(wanted, [number * BLOCK, number * BLOCK + rows])
        if high > low:
            held[low:high] = generator.block(number, rows)[wanted[low:high] - number * BLOCK]
    refined = {}
    for key, found in asked.items():
        places = np.searchsorted(wanted, np.maximum(found, wanted[0]))
        scores = np.einsum("nkd,nd->nk", held[places].astype(np.float32), queries)
        order = np.argsort(-np.where(found < 0, -2, scores), axis=1)[:, :K]
        refined[key] = np.take_along_axis(found, order, 1)
    return refined


def peak() -> float:
    """MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def machine() -> dict:
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "faiss": faiss.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def chosen(result: dict) -> list[dict]:
    """Of each kind of search the fewest probes that reached the recall asked for, or else came close to its best."""
    kinds = dict.fromkeys(row["index"] for row in result["searches"])
    found = []
    for kind in kinds:
        rows = [row for row in result["searches"] if row["index"] == kind]
        enough = min(ASKED, max(row["recall@10, to choose"] for row in rows) - CLOSE)
        found.append(next(row for row in rows if row["recall@10, to choose"] >= enough))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("statistics").add_argument("photos", type=Path)
    commands.add_parser("embed").add_argument("photos", type=Path, nargs="+")
    measuring = commands.add_parser("measure")
    measuring.add_argument("--count", type=int, default=1_000_000)
    measuring.add_argument("--lists", type=int, default=4096)
    measuring.add_argument("--candidates", type=int, default=REFINED, help="that are compared again")
    measuring.add_argument("--seed", type=int, default=0)
    measuring.add_argument("--out", type=Path)
    given = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    noted = RESULTS / "statistics.json"
    if given.command == "statistics":
        found = statistics(given.photos)
        noted.write_text(json.dumps(found) + "\n")
        print(json.dumps({key: value for key, value in found.items() if not isinstance(value, list)}, indent=1))
    elif given.command == "embed":
        result = {"encoder": "shipped, fp16", "sets": [embed(photos) for photos in given.photos], **machine()}
        (RESULTS / "embedding.json").write_text(json.dumps(result, indent=1) + "\n")
        print(json.dumps(result, indent=1))
    else:
        result = measure(json.loads(noted.read_text()), given.count, given.lists, given.seed, given.candidates)
        out = given.out or RESULTS / f"{given.count // 1_000_000}m.json"
        out.write_text(json.dumps(result, indent=1) + "\n")
        print(json.dumps({key: value for key, value in result.items() if key != "searches"}, indent=1))
        for row in chosen(result):
            print(row)


if __name__ == "__main__":
    main()
