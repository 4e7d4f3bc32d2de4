"""FAISS on a GPU beside the CPU: exact search, IVF build and search, and what the collection's own path adds.

``gpu_search.py OUT.json [--counts 1000000 10000000] [--dim 512] [--device cuda]``

One query reads every vector once, so its time is given as a part of the memory bandwidth that a copy on the same device
reaches in the same run. Vectors are those of ``search_speed.py``. Engines take turns; medians over rounds. Only
``flat float16`` is run where float32 does not fit the device. With ``--device cpu`` it shows that it runs, no more.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch  # before FAISS, where both are in one process
from numpy.typing import NDArray
from search_speed import K, points, recall  # pyright: ignore[reportMissingImports]

import faiss  # isort: skip

from simsiam_retrieval.collection.index.gpu_index import placed
from simsiam_retrieval.collection.index.vector_index import VectorIndex

Search = Callable[[NDArray[np.float32]], NDArray[np.int64]]
BANDWIDTH_BYTES = 1 << 30
LISTS_PER_ROOT = 4  # IVF lists: so many times the root of the number of vectors


def bandwidth(device: str) -> float:
    """Bytes per second that a large copy reads and writes, together."""
    source = torch.ones(BANDWIDTH_BYTES // 4, device=device)
    target = torch.empty_like(source)
    seconds = []
    for _ in range(10):
        _wait(device)
        start = time.perf_counter()
        target.copy_(source)
        _wait(device)
        seconds.append(time.perf_counter() - start)
    return 2 * BANDWIDTH_BYTES / statistics.median(seconds)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


class Places:
    """Bare FAISS indexes on the device, and the collection's."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.resources = faiss.StandardGpuResources() if device == "cuda" else None

    def move(self, index: faiss.Index, *, float16: bool = False) -> faiss.Index:
        if self.resources is None:
            return index
        options = faiss.GpuClonerOptions()
        options.useFloat16 = float16
        return faiss.index_cpu_to_gpu(self.resources, 0, index, options)


def measure(count: int, given: argparse.Namespace) -> list[dict]:
    """Rows of one collection size."""
    vectors, queries = points(count, given.dim, seed=1), points(1000, given.dim, seed=2)
    ids = np.arange(count, dtype=np.int64)
    places = Places(given.device)
    built: dict[str, float] = {}
    engines: dict[str, Search] = {}

    def bare(index: faiss.Index) -> Search:
        return lambda asked: index.search(asked, K)[1]

    start = time.perf_counter()
    flat = faiss.IndexFlatIP(given.dim)
    flat.add(vectors)
    built["cpu flat"] = time.perf_counter() - start
    engines["cpu flat"] = bare(flat)
    for name, float16 in ((f"{given.device} flat", False), (f"{given.device} flat float16", True)):
        start = time.perf_counter()
        try:
            engines[name] = bare(places.move(flat, float16=float16))
        except RuntimeError as error:  # FAISS's way to say that memory is short
            print(f"{name}: left out ({str(error).splitlines()[0][:120]})")
            continue
        built[name] = time.perf_counter() - start
    collection = placed(VectorIndex.build(ids, vectors, 1, "flat"), given.device)
    engines[f"collection on {given.device}"] = lambda asked: collection.search(asked, K)[1]
    lists = int(LISTS_PER_ROOT * count**0.5)
    for where in dict.fromkeys(("cpu", given.device)):
        start = time.perf_counter()
        ivf = faiss.IndexIVFFlat(faiss.IndexFlatIP(given.dim), given.dim, lists, faiss.METRIC_INNER_PRODUCT)
        index = places.move(ivf) if where == "cuda" else ivf
        index.train(vectors[:: max(1, count // (64 * lists))])
        index.add(vectors)
        built[f"{where} ivf"] = time.perf_counter() - start
        index.nprobe = given.nprobe  # pyright: ignore[reportAttributeAccessIssue]
        engines[f"{where} ivf"] = bare(index)
    truth = engines[f"{given.device} flat" if f"{given.device} flat" in engines else "cpu flat"](queries)

    single: dict[str, list[float]] = {name: [] for name in engines}
    batch: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(given.rounds):
        for name, search in engines.items():
            for query in queries[:20]:
                start = time.perf_counter()
                search(query[None])
                single[name].append(time.perf_counter() - start)
            start = time.perf_counter()
            search(queries)
            batch[name].append(time.perf_counter() - start)
    speed = {place: bandwidth(place) for place in dict.fromkeys(("cpu", given.device))}
    rows = []
    for name, search in engines.items():
        one, many = statistics.median(single[name]), statistics.median(batch[name])
        row = {
            "vectors": count,
            "engine": name,
            "recall@10": round(recall(search(queries), truth), 4),
            "one query, ms": round(1000 * one, 3),
            "queries/s in batches of 1,000": round(len(queries) / many, 1),
            "build or move, s": round(built[name], 2) if name in built else None,
        }
        if "flat" in name or "collection" in name:
            read = count * given.dim * (2 if "float16" in name else 4)
            row["of bandwidth"] = round(read / one / speed["cpu" if name.startswith("cpu") else given.device], 3)
        rows.append(row)
    ratio = statistics.median(batch[f"collection on {given.device}"]) / statistics.median(
        batch.get(f"{given.device} flat", batch["cpu flat"])
    )
    print(f"{count:,} vectors: the collection's path takes {ratio:.2f} times bare FAISS in batches of 1,000")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--counts", type=int, nargs="*", default=[1_000_000, 10_000_000])
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--nprobe", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    given = parser.parse_args()
    if given.device == "cuda" and not faiss.get_num_gpus():
        raise SystemExit("FAISS sees no GPU here; faiss-gpu and its CUDA libraries are needed")
    about = {
        "device": torch.cuda.get_device_name() if given.device == "cuda" else "cpu",
        "cores": os.cpu_count(),
        "dim": given.dim,
        "nprobe": given.nprobe,
        "rounds": given.rounds,
        "versions": {"faiss": faiss.__version__, "torch": torch.__version__},
    }
    rows: list[dict] = []
    for count in given.counts:
        rows += measure(count, given)
        given.out.parent.mkdir(parents=True, exist_ok=True)  # after each size: the next may not fit
        given.out.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    names = ["vectors", "engine", "recall@10", "one query, ms", "of bandwidth", "queries/s in batches of 1,000"]
    names.append("build or move, s")
    print("| " + " | ".join(names) + " |\n|" + " --- |" * len(names))
    for row in rows:
        print("| " + " | ".join(str(row.get(name, "")) for name in names) + " |")


if __name__ == "__main__":
    main()
