"""Time and memory of ``Collection.duplicates``: ``python benchmarks/duplicates_memory.py [--images N] [--out FILE]``.

A collection of N random unit vectors with planted near duplicates is written (no picture is needed: vectors, digests
and file facts are what it reads), then grouped in a process of its own, whose CPU time and peak memory are reported.
The planted groups must come back, all and no others; else the program fails.
"""

import argparse
import contextlib
import json
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from hardware import processor

from simsiam_retrieval.collection.collection import Collection
from simsiam_retrieval.collection.creation import ENCODER_FILE
from simsiam_retrieval.collection.storage.sqlite_store import SqliteStore
from simsiam_retrieval.collection.types import Entry

DIM, THRESHOLD, SPREAD = 512, 0.9, 0.01  # 512 values with a noise of 0.01 each: cosine of a copy about 0.975
BATCH = 2000


def planted(images: int, seed: int) -> tuple[np.ndarray, dict[int, int]]:
    """Vectors (n, DIM), and for every copy the row of its original: a tenth of the images, in groups up to 50."""
    draw = np.random.default_rng(seed)
    vectors = draw.standard_normal((images, DIM), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = iter(draw.permutation(images)[: images // 10].tolist())
    copies: dict[int, int] = {}
    for original in rows:
        for _, copy in zip(range(int(draw.integers(1, 50))), rows, strict=False):
            noisy = vectors[original] + SPREAD * draw.standard_normal(DIM, np.float32)
            vectors[copy] = noisy / np.linalg.norm(noisy)
            copies[copy] = original
    return vectors, copies


def written(folder: Path, images: int, seed: int) -> dict[int, int]:
    """A catalog of planted vectors; ids are rows + 1."""
    vectors, copies = planted(images, seed)
    catalog = SqliteStore.create(folder, {"encoder": "none", "dim": str(DIM)})
    originals = set(copies.values())
    for start in range(0, images, BATCH):
        catalog.add(
            Entry(
                Path(f"/nowhere/{row:07d}.jpg"),
                size=1000,
                mtime_ns=0,
                digest=row.to_bytes(32, "big"),
                width=200 if row in originals else 100,  # the original is the best
                height=100,
                format="JPEG",
                vector=vectors[row],
            )
            for row in range(start, min(start + BATCH, images))
        )
    catalog.publish([], [Path("/nowhere")])
    catalog.close()
    (folder / ENCODER_FILE).touch()
    return copies


class Enough(Exception):
    """The time given is over."""


def child(folder: Path, stop_after: float | None) -> None:
    """Group, and print what it took; or the part that was done after ``stop_after`` CPU seconds of comparing."""
    began: list[float] = []
    done = total = 0

    def on_progress(rows: int, of: int) -> None:
        nonlocal done, total
        done, total = done + rows, of
        began.append(time.process_time())
        if stop_after is not None and began[-1] - began[0] > stop_after:
            raise Enough

    with Collection.open(folder) as collection:
        before = _peak_kib()
        wall, cpu = time.perf_counter(), time.process_time()
        groups = []
        with contextlib.suppress(Enough):
            groups = collection.duplicates(THRESHOLD, on_progress=on_progress)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        peak = _peak_kib()
    facts = {"cpu_seconds": round(cpu, 1), "wall_seconds": round(wall, 1), "before_kib": before, "peak_kib": peak}
    if done < total:
        # row r is compared with the total - r after it; what came before the second block is left out of the rate
        first = done / len(began)
        pairs = (total - first) ** 2 - (total - done) ** 2
        whole = (began[-1] - began[0]) * (total - first) ** 2 / pairs
        facts |= {"stopped_after_rows": done, "computed_cpu_seconds_of_comparing_all": round(whole)}
    found = [[file.item.id - 1 for file in group] for group in groups]
    print(json.dumps({**facts, "groups": found}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write the result to this JSON file")
    parser.add_argument("--stop-after", type=float, help="CPU seconds of comparing; the whole is then worked out")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        child(arguments.child, arguments.stop_after)
        return
    folder = Path(tempfile.mkdtemp())
    try:
        copies = written(folder, arguments.images, arguments.seed)
        command = [sys.executable, __file__, "--child", str(folder)]
        if arguments.stop_after is not None:
            command += ["--stop-after", str(arguments.stop_after)]
        report = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    finally:
        shutil.rmtree(folder)
    groups = report.pop("groups")
    if "stopped_after_rows" not in report and {row: group[0] for group in groups for row in group[1:]} != copies:
        sys.exit("the planted groups did not come back")
    vectors = arguments.images * DIM * 4 / 2**20
    peak, before = report.pop("peak_kib") / 2**10, report.pop("before_kib") / 2**10
    result = {
        "images": arguments.images,
        "dim": DIM,
        "threshold": THRESHOLD,
        "planted_copies": len(copies),
        **({} if "stopped_after_rows" in report else {"groups_found": len(groups)}),
        **report,
        "vectors_mib": round(vectors),
        "peak_rss_mib": round(peak),
        "beyond_vectors_and_start_mib": round(peak - vectors - before),
        "seed": arguments.seed,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "cpu": processor(),
    }
    for key, value in result.items():
        print(f"{key}: {value}")
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _peak_kib() -> int:
    """Highest resident memory of this process so far; getrusage would count the parent's before exec as well."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    main()
