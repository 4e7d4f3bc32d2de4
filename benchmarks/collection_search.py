"""A search in a large collection from end to end: index, candidates from the catalog, and what is told of each image.

    python benchmarks/collection_search.py VECTORS.npy --place FOLDER [--images 600000] [--checkout BEFORE] [--out FILE]

Fills a collection with rows without files: vectors of ``real_vectors.py``, and beyond their number each plus a quarter
of the difference of two others. ``--checkout`` runs another commit (``git worktree add BEFORE COMMIT``). Medians of 100
queries one by one, with the pauses between them that a search itself makes, and a batch of 100.
"""

import argparse
import contextlib
import io
import shutil
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

BLOCK, QUERIES, K = 20_000, 100, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vectors", type=Path)
    parser.add_argument("--place", type=Path, required=True)
    parser.add_argument("--images", type=int, default=600_000)
    parser.add_argument("--checkout", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    sys.path.insert(0, str(arguments.checkout.resolve()))
    from hardware import processor
    from index_versions import commit
    from result_file import write_result

    from simsiam_retrieval import Collection
    from simsiam_retrieval.collection.index.make_index import make_index
    from simsiam_retrieval.collection.storage.opening import open_to_update
    from simsiam_retrieval.collection.types import Entry

    stored = np.load(arguments.vectors, mmap_mode="r")
    buffer = io.BytesIO()
    Image.new("RGB", (60, 40), (9, 90, 9)).save(buffer, "JPEG")
    shutil.rmtree(arguments.place, ignore_errors=True)
    with Collection.create(arguments.place) as collection:
        dim = collection.dim
    with contextlib.closing(open_to_update(arguments.place)) as store:
        for start in range(0, arguments.images, BLOCK):
            rows = np.arange(start, min(arguments.images, start + BLOCK))
            vectors = np.array(stored[rows % len(stored)], np.float32)
            if start + BLOCK > len(stored):
                vectors += 0.25 * (stored[(rows * 7 + 3) % len(stored)] - stored[(rows * 11 + 5) % len(stored)])
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            store.add(
                [
                    Entry(
                        Path(f"/pictures/{row // 1000}/{row}.jpg"),
                        1,
                        1,
                        digest=row.to_bytes(32, "big"),
                        width=60,
                        height=40,
                        format="JPEG",
                        vector=vector,
                        thumbnail=buffer.getvalue(),
                    )
                    for row, vector in zip(rows.tolist(), vectors, strict=True)
                ]
            )
        store.publish([], [Path("/pictures")])
        began = time.process_time()
        make_index(store, dim)
        built = time.process_time() - began
    queries = np.array(stored[:: len(stored) // QUERIES][:QUERIES], np.float32)
    cpu, wall = [], []
    with Collection.open(arguments.place) as collection:
        for query in queries[:5]:
            collection.search(query, k=K)
        for query in queries:
            used, began = time.process_time(), time.perf_counter()
            collection.search(query, k=K)
            cpu.append(time.process_time() - used)
            wall.append(time.perf_counter() - began)
        used = time.process_time()
        collection.search_vectors(queries, K)
        batch = (time.process_time() - used) / QUERIES
    result = {
        "commit": commit(arguments.checkout),
        "images": arguments.images,
        "processor": processor(),
        "index_cpu_s": round(built, 1),
        "one_cpu_ms": round(1000 * statistics.median(cpu), 2),
        "one_wall_ms": round(1000 * statistics.median(wall), 2),
        "batch_cpu_ms": round(1000 * batch, 2),
    }
    print(result)
    write_result(result, arguments.out)


if __name__ == "__main__":
    main()
