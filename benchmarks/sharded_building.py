"""Memory, time and disk of a sharded collection: ``python benchmarks/sharded_building.py [--images N] [--out DIR]``.

Shards of N clustered unit vectors are written (no picture is needed), then built, opened and searched, each in a
process of its own. The program fails where the build, or the process that merges for it, had more than ``--limit`` MiB
resident beside the trained index, by the kernel's own high-water mark; pages of mapped files, which the system takes
back when it likes, are in it.
"""

import argparse
import json
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from hardware import processor

from simsiam_retrieval import Collection
from simsiam_retrieval.collection.index.build_shard_index import build
from simsiam_retrieval.collection.storage import shard_file, shard_writer
from simsiam_retrieval.collection.storage.shard_file import ShardRow
from simsiam_retrieval.collection.storage.shard_manifest import FILE

ENCODER = "0123456789abcdef"
CENTRES = 5_000
SPREAD = 1.0  # of an image round its centre, which has length 1: cosines of 0.5 within a cluster
QUERIES = 200


def written(folder: Path, images: int, dim: int, rows: int, seed: int) -> None:
    """Shards of vectors round random centres, as those of kinds of photos lie."""
    centres = np.random.default_rng(seed).standard_normal((CENTRES, dim)).astype(np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    manifest = {"format": 1, "encoder": ENCODER, "encoder_file": "encoder.onnx", "dim": dim, "sources": ["/photos"]}
    (folder / FILE).write_text(json.dumps(manifest))
    for number, first in enumerate(range(0, images, rows)):
        generator = np.random.default_rng([seed, number])
        count = min(rows, images - first)
        vectors = centres[generator.integers(0, CENTRES, count)]
        vectors += SPREAD * generator.standard_normal((count, dim), np.float32) / np.float32(dim**0.5)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        made = [
            ShardRow(f"/photos/{number:06}/2019-07-holidays/IMG_{row:08}.jpg", 2_000_000, 1_600_000_000 * 10**9,
                     generator.bytes(32), 4000, 3000, "JPEG", "2019-07-01T10:00:00", vector)
            for row, vector in enumerate(vectors, first)
        ]  # fmt: skip
        name = shard_file.shard_name(ENCODER, [{"path": f"/photos/{number:06}"}])
        shard_writer.write_shard(folder, name, made, encoder=ENCODER, dim=dim, extra={"source": "/photos"})


class Watch(threading.Thread):
    """The highest private memory of this process, looked at ten times a second, by stage."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.stage, self.peaks, self.seconds = "start", dict[str, int](), dict[str, float]()
        self._began = time.process_time()

    def run(self) -> None:
        while True:
            self.look()
            time.sleep(0.1)

    def look(self) -> None:
        self.peaks[self.stage] = max(self.peaks.get(self.stage, 0), _status("RssAnon"))

    def on_progress(self, stage: str, done: int, total: int) -> None:
        self.look()
        now = time.process_time()
        self.seconds[self.stage] = self.seconds.get(self.stage, 0) + now - self._began
        self._began, self.stage = now, stage


def child(arguments: argparse.Namespace) -> dict[str, Any]:
    """Build, or open and search; what it took."""
    folder: Path = arguments.child
    if arguments.search:
        return _searched(folder)
    watch = Watch()
    watch.start()
    built = build(folder, kind=arguments.kind, on_progress=watch.on_progress)
    watch.on_progress("end", 0, 0)
    assert built.images == arguments.images and built.measured is not None
    merging = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "measured": built.measured.as_dict(),
        "private_peak_mib": {stage: round(kib / 1024) for stage, kib in watch.peaks.items()},
        "peak_mib": round(_status("VmHWM") / 1024),
        "merging_process_peak_mib_at_most": round(merging.ru_maxrss / 1024),  # not less than its parent's by then
        "cpu_seconds": {stage: round(seconds, 1) for stage, seconds in watch.seconds.items()},
        "merging_process_cpu_seconds": round(merging.ru_utime + merging.ru_stime, 1),
    }


def _searched(folder: Path) -> dict[str, Any]:
    before = _status("RssAnon")
    with Collection.open(folder) as collection:
        queries = collection.sample(QUERIES)
        collection.search(queries[0])
        cpu = time.process_time()
        for query in queries:
            collection.search(query)
        cpu = time.process_time() - cpu
    return {
        "search_cpu_milliseconds_a_query": round(1000 * cpu / len(queries), 2),
        "search_private_mib": round((_status("RssAnon") - before) / 1024),
        "search_peak_mib": round(_status("VmHWM") / 1024),
        "pyarrow_imported": "pyarrow" in sys.modules,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2_000_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--rows", type=int, default=20_000, help="of a shard")
    parser.add_argument("--kind", default="auto", help="auto, ivf, ivf-sq8 or ivf-pq")
    parser.add_argument("--limit", type=int, default=2000, help="MiB beside the trained index")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="an empty or absent folder for the collection, which stays")
    parser.add_argument("--out", type=Path, help="write the result into this folder")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--search", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        print(json.dumps(child(arguments)))
        return
    folder = arguments.keep or Path(tempfile.mkdtemp(dir="."))
    try:
        folder.mkdir(exist_ok=True)
        if not (folder / FILE).exists():
            written(folder, arguments.images, arguments.dim, arguments.rows, arguments.seed)
        command = [sys.executable, __file__, *sys.argv[1:], "--child", str(folder)]
        report = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
        report |= json.loads(subprocess.run([*command, "--search"], stdout=subprocess.PIPE, check=True).stdout)
        sizes = {
            "shards": sum(file.stat().st_size for file in (folder / "shards").iterdir()),
            "parts": sum(file.stat().st_size for file in (folder / "parts").glob("part-*")),
            "trained": sum(file.stat().st_size for file in (folder / "parts").glob("trained-*.faiss")),
            "index": sum(file.stat().st_size for file in folder.glob("index-*")),
            "catalog": (folder / "catalog.sqlite").stat().st_size,
        }
    finally:
        if arguments.keep is None:
            shutil.rmtree(folder)
    peak = max(report["peak_mib"], report["merging_process_peak_mib_at_most"])
    if peak > arguments.limit + sizes["trained"] / 2**20:
        sys.exit(f"{peak} MiB, more than {arguments.limit} beside the trained index")
    result = {
        "images": arguments.images,
        "dim": arguments.dim,
        "rows_of_a_shard": arguments.rows,
        "kind": report["measured"]["kind"],
        **report,
        "bytes": sizes,
        "bytes_an_image": {name: round(size / arguments.images, 1) for name, size in sizes.items()},
        "seed": arguments.seed,
        "threads": faiss.omp_get_max_threads(),
        "faiss": faiss.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "cpu": processor(),
    }
    print(json.dumps(result, indent=2))
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        file = arguments.out / f"{result['kind']}-{arguments.images}x{arguments.dim}.json"
        file.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _status(name: str) -> int:
    """A line of this process's status, KiB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    main()
