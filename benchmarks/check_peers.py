"""Outliers that were planted, ranked by fastdup: for the table beside those of ``check.py``.

    python benchmarks/check_peers.py --data DATA --out benchmarks/results/check/outliers-fastdup.csv

Runs in an environment of fastdup's own (fastdup 2.54 wants NumPy 1 and Pillow 10.3), with scikit-learn beside it, and
without this project's package. The images are those of ``check.py``: the same sets, seeds and draws. fastdup ranks an
image by its cosine with its nearest neighbour, by features of its own; ``lower_threshold=1`` makes it rank all images.
"""

import argparse
import itertools
import random
import shutil
import tempfile
import time
from pathlib import Path

import fastdup  # pyright: ignore[reportMissingImports]
import numpy as np
from check import HOSTS, PLANTED, SEEDS, SETS, planted
from result_file import write_rows
from sklearn.metrics import average_precision_score


def listed(data: Path, name: str) -> list[Path]:
    folder, most = SETS[name]
    files = sorted(file for file in (data / folder).rglob("*") if file.suffix.lower() in (".jpg", ".jpeg", ".png"))
    random.Random(0).shuffle(files)
    return files[:most]


def ranked(files: list[Path]) -> dict[str, float]:
    """Path -> how far fastdup says the image is from its nearest neighbour."""
    work = Path(tempfile.mkdtemp())
    try:
        (work / "files.txt").write_text("".join(f"{file}\n" for file in files))
        dataset = fastdup.create(work_dir=str(work / "work"), input_dir=str(work / "files.txt"))
        dataset.run(lower_threshold=1.0, overwrite=True, print_summary=False)
        found = dataset.outliers()
        return {
            name: 1 - float(cosine) for name, cosine in zip(found["filename_outlier"], found["distance"], strict=True)
        }
    finally:
        shutil.rmtree(work)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    files = {name: listed(arguments.data.resolve(), name) for name in SETS}
    sizes = {name: len(of) for name, of in files.items()}
    rows = []
    for host, how in itertools.product([*HOSTS, "caltech101"], PLANTED):
        found, missing, start = [], 0, time.perf_counter()
        for seed in SEEDS:
            strange = [files[name][row] for name, row in planted(sizes, host, how, seed)]
            mixed = files[host] + strange
            distances = ranked(mixed)
            missing += sum(str(file) not in distances for file in mixed)
            scores = [distances.get(str(file), 0.0) for file in mixed]  # what fastdup leaves out is the last
            found.append(average_precision_score(np.r_[np.zeros(sizes[host]), np.ones(len(strange))], scores))
        rows.append(
            {"set": host, "planted": how, "way": f"fastdup {fastdup.__version__}"}
            | {"ap": round(float(np.mean(found)), 4), "std": round(float(np.std(found)), 4), "left_out": missing}
        )
        print(*rows[-1].values(), f"{time.perf_counter() - start:.0f} s", sep="\t", flush=True)
        write_rows(rows, arguments.out)


if __name__ == "__main__":
    main()
