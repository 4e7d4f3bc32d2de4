"""Indexing by two versions of this repository, in turns.

    python benchmarks/index_versions.py BEFORE PHOTOS --encoder ONNX [--out FILE]

BEFORE is a checkout of another commit (``git worktree add BEFORE COMMIT``). Both versions index the same JPEGs with the
same encoder, each time as a process from start to end, into a new collection; the order changes each round. The
CPU time of the process and its workers is measured beside the wall-clock time: other programs disturb it less. A run on
a few photos is subtracted, so that the start and a photo are told apart. The photos are mosaics of those in PHOTOS, as
in ``index_speed.py``.
"""

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from hardware import processor
from photo_mosaics import mosaics
from result_file import write_result

from simsiam_retrieval.images.files import list_images
from simsiam_retrieval.images.worker_pool import available_cpus

HERE = Path(__file__).parents[1]
FEW = 5  # photos of the run that shows what a start costs


def run(checkout: Path, photos: Path, encoder: Path, scratch: Path) -> dict[str, float]:
    """Seconds of one ``index`` command of a version."""
    collection = scratch / "collection"
    shutil.rmtree(collection, ignore_errors=True)
    command = [
        sys.executable,
        "-m",
        "simsiam_retrieval.index",
        photos,
        "--collection",
        collection,
        "--encoder",
        encoder,
    ]
    environment = os.environ | {"PYTHONPATH": str(checkout), "SIMSIAM_RETRIEVAL_HOME": str(scratch / "home")}
    before, started = os.times(), time.perf_counter()
    done = subprocess.run(list(map(str, command)), cwd=checkout, env=environment, capture_output=True, text=True)
    seconds, after = time.perf_counter() - started, os.times()
    if done.returncode:
        raise SystemExit(f"{checkout}: {done.stderr}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {"seconds": round(seconds, 3), "cpu": round(cpu, 3)}


def commit(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--encoder", type=Path, required=True, help="an .onnx file that both versions can read")
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--megapixels", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scratch", type=Path, help="where the photos are kept for the next run")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        scratch = options.scratch or Path(temporary)
        source = [file.path for file in list_images([options.photos]).images]
        mosaics(source, scratch / "photos", options.count, options.megapixels, 0)
        few = scratch / "few"
        few.mkdir(exist_ok=True)
        for photo in sorted((scratch / "photos").iterdir())[:FEW]:
            shutil.copy(photo, few)
        versions = {"before": options.before.resolve(), "now": HERE}
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in versions}
        for checkout in versions.values():  # compiles
            run(checkout, few, options.encoder.resolve(), scratch)
        for number in range(options.rounds):
            for name in list(versions)[:: 1 if number % 2 == 0 else -1]:
                start = run(versions[name], few, options.encoder.resolve(), scratch)
                whole = run(versions[name], scratch / "photos", options.encoder.resolve(), scratch)
                photo = (whole["cpu"] - start["cpu"]) / (options.count - FEW) * 1000
                runs[name].append(whole | {"start_cpu": start["cpu"], "photo_cpu_ms": round(photo, 3)})
                print(f"{name:7} {runs[name][-1]}", flush=True)
            if options.out:
                write(options, versions, runs)


def write(options: argparse.Namespace, versions: dict[str, Path], runs: dict[str, list[dict[str, float]]]) -> None:
    """Write and print medians and their ratios."""
    medians = {
        name: {key: statistics.median(one[key] for one in found) for key in found[0]} for name, found in runs.items()
    }
    ratios = {key: round(medians["now"][key] / medians["before"][key], 3) for key in medians["now"]}
    print(f"medians {medians}; now / before {ratios}")
    facts = {
        "processor": processor(),
        "cpus": available_cpus(),
        "versions": {name: version(name) for name in ("pillow", "numpy", "faiss-gpu", "onnxruntime-gpu")},
        "python": platform.python_version(),
        "commits": {name: commit(checkout) for name, checkout in versions.items()},
        "photos": {"count": options.count, "megapixels": options.megapixels, "seed": 0},
        "medians": medians,
        "now_by_before": ratios,
        "runs": runs,
    }
    write_result(facts, options.out)


if __name__ == "__main__":
    main()
