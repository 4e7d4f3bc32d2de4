"""A run -> the encoder that ships with the package: ``ship_encoder.py RUN [--features TEXT] [--image-size N]``.

Writes ``encoder.onnx`` (float16, checked against torch as every export) and ``encoder.json`` (its facts) to
``simsiam_retrieval/encoder/shipped/``, or to ``--out``, and prints size and time an image beside those of the file
before. CARD.md is written by hand; ``default_encoder.sh`` measures what it says. PCA is fitted to the folders of
``--fit``, equally many images of each, or to the run's images.
"""

import argparse
import hashlib
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from fit_folders import mixed
from hardware import processor
from simsiam_retrieval.export.export_report import REPORT, read_report  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.export.export_run import Settings, export_files  # pyright: ignore[reportMissingImports]

from simsiam_retrieval.encoder.find_encoder import default_encoder_file
from simsiam_retrieval.encoder.onnx_encoder import Encoder

FEATURES = "stage2@4x4,stage3@2x2,flip,pca256^0.75"
KEPT = (
    "backbone", "stem", "method", "recipe", "trained_at", "features", "reduction", "precision", "data_fingerprint",
    "version", "image_size", "dim",
)  # fmt: skip
PARITY = (
    "images", "largest_difference", "mean_difference", "smallest_cosine", "recall_at_10", "smallest_cosine_whole",
)  # fmt: skip
BATCH, ROUNDS, REPEATS = 8, 7, 10


def milliseconds(encoders: list[Encoder]) -> list[float]:
    """Milliseconds an image of each, medians of rounds in turns, batches of 8 at the encoder's own size."""
    rng = np.random.default_rng(0)
    batches = [rng.integers(0, 256, (BATCH, one.image_size, one.image_size, 3), np.uint8) for one in encoders]
    times: list[list[float]] = [[] for _ in encoders]
    for _ in range(ROUNDS):
        for encoder, batch, taken in zip(encoders, batches, times, strict=True):
            encoder.embed_pixels(batch)
            start = time.perf_counter()
            for _ in range(REPEATS):
                encoder.embed_pixels(batch)
            taken.append(1000 * (time.perf_counter() - start) / REPEATS / BATCH)
    return [statistics.median(taken) for taken in times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--features", default=FEATURES)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--fit", type=Path, nargs="+", default=[])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--licence")
    parser.add_argument("--out", type=Path, default=default_encoder_file().parent)
    given = parser.parse_args()
    file = given.out / "encoder.onnx"
    before = Encoder(default_encoder_file(), device="cpu", threads=1)
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            features=given.features, image_size=given.image_size, images=given.images, licence=given.licence,
            fit=mixed(given.fit, Path(folder)) if given.fit else None,
        )  # fmt: skip
        (exported,) = export_files(given.run, {"fp16": file}, settings, print)
    if exported.refused is not None:
        raise SystemExit(exported.refused)
    facts = read_report(given.out / REPORT)[file.name]
    (given.out / REPORT).unlink()
    kept = {name: facts[name] for name in KEPT if name in facts}
    kept["identity"] = hashlib.sha256(file.read_bytes()).hexdigest()[:16]  # what was shipped, to notice damage
    kept["parity"] = {name: facts["parity"][name] for name in PARITY}
    (given.out / "encoder.json").write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    after = Encoder(file, device="cpu", threads=1)
    old, new = milliseconds([before, after])
    print(f"identity {after.identity}, {facts['features']}, {file.stat().st_size / 1e6:.1f} MB")
    print(f"{new:.2f} ms an image, the encoder before {old:.2f} (one thread, {processor()})")


if __name__ == "__main__":
    main()
