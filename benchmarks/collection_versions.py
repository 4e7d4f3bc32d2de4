"""Size and start of a collection by two versions of this repository, in turns.

    python benchmarks/collection_versions.py BEFORE [--images N] [--dim D] [--rounds R] [--out FILE]

BEFORE is a checkout of another commit (``git worktree add BEFORE COMMIT``). Each version makes a collection of the same
random unit vectors, paths and one thumbnail; then the bytes of each table and of the index file are counted, without
thumbnails. With 256 values (those of the shipped encoder) ``search QUERY`` and ``status`` are then timed as processes
from start to end, in turns: wall-clock seconds, and CPU seconds, which other programs disturb less.
"""

import argparse
import json
import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from hardware import processor
from index_versions import commit
from result_file import write_result

HERE = Path(__file__).parents[1]
SHIPPED = 256  # values per vector of the shipped encoder
MAKE = """
import io, sys, hashlib, contextlib
from pathlib import Path
import numpy as np
from PIL import Image
from simsiam_retrieval import Collection
from simsiam_retrieval.collection.index.make_index import make_index
from simsiam_retrieval.collection.storage.opening import open_to_update
from simsiam_retrieval.collection.storage.sqlite_store import SqliteStore
from simsiam_retrieval.collection.types import Entry
from simsiam_retrieval.images.files import ImageFile
from simsiam_retrieval.images.measures import Measures

folder, images, dim = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
with Collection.create(folder) as collection:
    encoder = collection.encoder_identity
if dim != collection.dim:
    (folder / "catalog.sqlite").unlink()
    SqliteStore.create(folder, {"encoder": encoder, "dim": str(dim)}).close()
generator = np.random.default_rng(0)
thumbnail = io.BytesIO()
Image.fromarray(generator.integers(0, 256, (6, 8, 3), np.uint8)).resize((256, 192)).save(thumbnail, "JPEG")
with contextlib.closing(open_to_update(folder)) as store:
    for start in range(0, images, 1000):
        vectors = generator.standard_normal((min(1000, images - start), dim), np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        entries = []
        for number, vector in enumerate(vectors, start):
            path = Path(f"/home/somebody/Pictures/2024/a folder of photos {number // 500:03}/IMG_{number:06}.jpg")
            digest = hashlib.sha256(str(number).encode()).digest()
            measures = Measures(*generator.random(6).tolist(), "RGB")
            entries.append(Entry(path, 345_678 + number, 1_700_000_000_000_000_000 + number, digest=digest, width=800,
                                 height=600, format="JPEG", vector=vector, thumbnail=thumbnail.getvalue(),
                                 measures=measures))
        store.add(entries)
        store.note_change_times([ImageFile(e.path, e.size, e.mtime_ns, ctime_ns=e.mtime_ns) for e in entries])
    store.publish([], [Path("/home/somebody/Pictures")])
    make_index(store, dim)
"""


def run(checkout: Path, arguments: list[str | Path], scratch: Path) -> dict[str, float]:
    """Seconds of one process of a version; its commands run with that version's package."""
    environment = os.environ | {"PYTHONPATH": str(checkout), "SIMSIAM_RETRIEVAL_HOME": str(scratch / "home")}
    before, started = os.times(), time.perf_counter()
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=checkout, env=environment, capture_output=True, text=True
    )
    seconds, after = time.perf_counter() - started, os.times()
    if done.returncode:
        raise SystemExit(f"{checkout}: {done.stderr}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {"seconds": round(seconds, 3), "cpu": round(cpu, 3)}


def bytes_of(folder: Path, images: int) -> dict[str, float]:
    """Bytes a row, by table and for the index file."""
    database = sqlite3.connect(folder / "catalog.sqlite")
    found = dict(database.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name"))
    database.close()
    del found["thumbnails"]
    rows = {name: round(size / images, 1) for name, size in found.items() if size / images >= 1}
    rows["catalog without thumbnails"] = round(sum(found.values()) / images, 1)
    rows["index file"] = round(sum(file.stat().st_size for file in folder.glob("index-*.faiss")) / images, 1)
    rows["together"] = round(rows["catalog without thumbnails"] + rows["index file"], 1)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--dim", type=int, default=SHIPPED)
    parser.add_argument("--rounds", type=int, default=5, help="0: only sizes")
    parser.add_argument("--query", type=Path, default=HERE / "examples/photos/pets/tabby-cat.jpg")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    versions = {"before": options.before.resolve(), "now": HERE}
    result: dict = {
        "images": options.images,
        "dim": options.dim,
        "processor": processor(),
        "cpus": os.cpu_count(),
        "versions": {name: version(name) for name in ("numpy", "faiss-gpu", "onnxruntime-gpu")},
        "python": platform.python_version(),
        "commits": {name: commit(checkout) for name, checkout in versions.items()},
    }
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        for name, checkout in versions.items():
            run(checkout, ["-c", MAKE, scratch / name, str(options.images), str(options.dim)], scratch)
        result["bytes a row"] = {name: bytes_of(scratch / name, options.images) for name in versions}
        for command in ("search", "status") if options.dim == SHIPPED and options.rounds else ():
            runs: dict[str, list[dict[str, float]]] = {name: [] for name in versions}
            for number in range(-1, options.rounds):  # the first compiles and fills the file cache
                for name, checkout in list(versions.items())[:: 1 if number % 2 == 0 else -1]:
                    query = [options.query.resolve()] if command == "search" else []
                    arguments = ["-m", f"simsiam_retrieval.{command}", *query, "--collection", scratch / name]
                    found = run(checkout, arguments, scratch)
                    if number >= 0:
                        runs[name].append(found)
            result[command] = {
                name: {key: statistics.median(one[key] for one in found) for key in ("seconds", "cpu")}
                for name, found in runs.items()
            }
    print(json.dumps(result, indent=1))
    write_result(result, options.out)


if __name__ == "__main__":
    main()
