"""Embedding on a Ray cluster beside a plain index: ``python benchmarks/cluster_embedding.py IMAGES [--images N] …``.

IMAGES holds JPEGs, such as CIFAR-10's. N of them are the input: half as loose files, half in tar archives, and among
them a broken file after every hundred, so that every shard has some. Three runs, each a process from start to end:

- **plain**: ``index`` over the same files, the archives unpacked.
- **ray**: ``index --engine ray``, with a cluster of its own on this machine.
- **killed**: the same, while two of the processes that embed are killed with SIGKILL at a third and at two thirds.

Both collections of shards are then compared with the plain one, row by row: paths, SHA-256, sizes, formats, reasons,
and vectors up to float16. CPU seconds are those of all processes of a run, Ray's own among them, read from ``/proc``;
on a machine that does other work as well, they say more than the wall clock.
"""

import argparse
import json
import os
import platform
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import uuid
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import simsiam_retrieval
from simsiam_retrieval import Collection
from simsiam_retrieval.collection.storage.shard_file import shard_file, shard_names
from simsiam_retrieval.collection.storage.shard_parquet_reader import read_rows, read_vectors
from simsiam_retrieval.images.files import list_images
from simsiam_retrieval.images.worker_pool import available_cpus

BROKEN_AFTER = 100  # images
TAR_IMAGES = 1500
LOOK_SECONDS = 0.1
TICK = os.sysconf("SC_CLK_TCK")
MARK = "CLUSTER_EMBEDDING_RUN"  # in the environment of all processes of a run
ACTOR = b"ray::MapWorker(Map(Embedder)).submit"
FLOAT16 = 2.0**-11  # half a unit in the last place of a value near 1


def make_input(source: list[Path], root: Path) -> int:
    """Loose files in ``root/plain/loose``, others in archives in ``root/in``, unpacked in ``root/plain/packed``."""
    files = 0
    for half, name in ((source[::2], "loose"), (source[1::2], "packed")):
        for number, file in enumerate(half):
            group = f"{number // TAR_IMAGES:03d}"
            folder = root / "plain" / name / group
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, folder / f"{number:06d}.jpg")
            files += 1
            if number % BROKEN_AFTER == BROKEN_AFTER // 2:
                (folder / f"{number:06d}-broken.jpg").write_bytes(file.read_bytes()[:200])
                files += 1
    (root / "in").mkdir()
    for group in sorted((root / "plain" / "packed").iterdir()):
        with tarfile.open(root / "in" / f"{group.name}.tar", "w") as tar:
            for file in sorted(group.iterdir()):
                tar.add(file, file.name)
    return files


class Watch(threading.Thread):
    """CPU seconds of all processes with a mark in their environment, and what is to be killed meanwhile."""

    def __init__(self, mark: str, shards: Path | None = None, kill_at: tuple[int, ...] = ()) -> None:
        super().__init__(daemon=True)
        self.over = threading.Event()
        self.killed: list[int] = []
        self._mark, self._shards, self._kill_at = f"{MARK}={mark}".encode(), shards, kill_at
        self._seconds: dict[tuple[str, str], float] = {}  # by process and start
        self._strangers: set[str] = set()

    def run(self) -> None:
        while not self.over.wait(LOOK_SECONDS):
            for process in Path("/proc").glob("[0-9]*"):
                self._look_at(process)
            if len(self.killed) < len(self._kill_at) and self._shards is not None:
                done = len(list(self._shards.glob("*.parquet")))
                if done >= self._kill_at[len(self.killed)]:
                    self._kill_one()

    @property
    def seconds(self) -> float:
        return sum(self._seconds.values())

    def _look_at(self, process: Path) -> None:
        if process.name in self._strangers:
            return
        try:
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            key = (process.name, fields[19])
            if key not in self._seconds and self._mark not in (process / "environ").read_bytes().split(b"\0"):
                self._strangers.add(process.name)
                return
        except OSError:
            return
        self._seconds[key] = (int(fields[11]) + int(fields[12])) / TICK

    def _kill_one(self) -> None:
        for name, _ in self._seconds:
            try:
                at_work = (Path("/proc") / name / "cmdline").read_bytes().startswith(ACTOR)
            except OSError:
                continue
            if at_work and int(name) not in self.killed:
                os.kill(int(name), signal.SIGKILL)
                self.killed.append(int(name))
                return


def timed(arguments: list[object], home: Path, shards: Path | None = None, kill_at: tuple[int, ...] = ()) -> dict:
    """Run ``index``: wall and CPU seconds, the processes that were killed, what it printed."""
    mark = uuid.uuid4().hex
    watch = Watch(mark, shards, kill_at)
    watch.start()
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "simsiam_retrieval.index", *map(str, arguments)],
        env={**os.environ, MARK: mark, "SIMSIAM_RETRIEVAL_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    wall = time.perf_counter() - started
    watch.over.set()
    watch.join()
    if done.returncode != 0:
        raise SystemExit(f"index {' '.join(map(str, arguments))} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return {"wall": wall, "cpu": watch.seconds, "killed": len(watch.killed), "said": done.stdout + done.stderr}


def compared(folder: Path, root: Path, plain: Path) -> dict[str, Any]:
    """How a sharded collection differs from the plain one: counts, the largest difference, shards without a reason."""
    with Collection.open(plain) as collection:
        items = {str(item.path): item for item in collection}
        reasons = {str(path): reason for path, reason in collection.failures()}
        ids, stored = collection.vectors()
    vectors = dict(zip(ids.tolist(), stored, strict=True))
    digests = digests_of(plain)
    seen: set[str] = set()
    wrong, doubled, largest, without_broken = 0, 0, 0.0, 0
    for name in shard_names(folder):
        file, broken = shard_file(folder, name), 0
        for rows, found in zip(read_rows(file), read_vectors(file), strict=True):
            for row, vector in zip(rows, found, strict=True):
                path = re.sub(rf"^{re.escape(str(root))}/in/(\d+)\.tar/", rf"{root}/plain/packed/\1/", row["path"])
                doubled += path in seen
                seen.add(path)
                broken += row["reason"] is not None
                item = items.get(path)
                if item is None:
                    wrong += row["reason"] != reasons.get(path)
                    continue
                facts = (row["size"], row["width"], row["height"], row["format"], row["digest"])
                wrong += facts != (item.size, item.width, item.height, item.format, digests[item.id])
                largest = max(largest, float(np.abs(vector.astype(np.float32) - vectors[item.id]).max()))
        without_broken += broken == 0
    return {
        "shards": len(shard_names(folder)),
        "shards_without_a_broken_file": without_broken,
        "rows": len(seen),
        "missing": len((items.keys() | reasons.keys()) - seen),
        "doubled": doubled,
        "wrong": wrong,
        "largest_difference": largest,
        "within_float16": largest <= FLOAT16,
    }


def digests_of(plain: Path) -> dict[int, bytes]:
    database = sqlite3.connect(plain / "catalog.sqlite")
    found = dict(database.execute("SELECT id, digest FROM items"))
    database.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="IMAGES")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=available_cpus())
    parser.add_argument("--scratch", type=Path, help="where to work; by default a temporary folder")
    parser.add_argument("--out", type=Path, help="write the result to this JSON file")
    arguments = parser.parse_args()

    source = [image.path for image in list_images([arguments.source]).images]
    if len(source) < arguments.images:
        raise SystemExit(f"{arguments.source}: {len(source)} images, not {arguments.images}")
    source = source[:: len(source) // arguments.images][: arguments.images]
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as name:
        root = Path(name).resolve()
        files = make_input(source, root)
        inputs = [root / "plain" / "loose", *sorted((root / "in").glob("*.tar"))]
        common = ["--workers", arguments.workers, "--device", "cpu"]
        runs = {"plain": timed([root / "plain", "--collection", root / "c-plain", *common], root / "home")}
        differences = {}
        for run in ("ray", "killed"):
            folder = root / f"c-{run}"
            shards = files // 1024
            kill_at = (max(1, shards // 3), max(2, 2 * shards // 3)) if run == "killed" else ()
            options = ["--collection", folder, "--engine", "ray", *common]
            runs[run] = timed([*inputs, *options], root / "home", folder / "shards", kill_at)
            differences[run] = compared(folder, root, root / "c-plain")
        result = {
            "files": files,
            "images": len(source),
            "broken": files - len(source),
            "archives": len(inputs) - 1,
            "runs": {run: {key: facts[key] for key in ("wall", "cpu", "killed")} for run, facts in runs.items()},
            "cpu_of_plain": {run: runs[run]["cpu"] / runs["plain"]["cpu"] for run in ("ray", "killed")},
            "wall_of_plain": {run: runs[run]["wall"] / runs["plain"]["wall"] for run in ("ray", "killed")},
            "compared_with_plain": differences,
            "workers": arguments.workers,
            "cores": available_cpus(),
            "load_average": os.getloadavg()[0],
            "version": simsiam_retrieval.__version__,
            "ray": version("ray"),
            "python": platform.python_version(),
        }
    print(
        f"{files:,} files, {result['broken']} of them broken; {result['archives']} archives;"
        f" {arguments.workers} workers\n"
    )
    print("| run | CPU seconds | times plain | wall seconds | times plain | killed |\n|" + " --- |" * 6)
    for run, facts in runs.items():
        cpu, wall = facts["cpu"] / runs["plain"]["cpu"], facts["wall"] / runs["plain"]["wall"]
        print(f"| {run} | {facts['cpu']:.1f} | {cpu:.2f} | {facts['wall']:.1f} | {wall:.2f} | {facts['killed']} |")
    for run, facts in differences.items():
        print(f"\n{run}: {json.dumps(facts)}")
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
