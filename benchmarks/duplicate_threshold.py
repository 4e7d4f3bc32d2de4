"""Where near duplicates begin: ``python benchmarks/duplicate_threshold.py FOLDER [FOLDER …] [--out FILE]``.

Altered copies of real photos (rescaled, compressed again, cropped a little, turned with an EXIF flag) are embedded
beside the originals. The lowest threshold at which at most one in a million pairs of different photos counts as
duplicates, in every folder, is the threshold.

Different photos that really are near duplicates count against the threshold here, so it errs on the safe side.
"""

import argparse
import io
import json
import platform
import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

import simsiam_retrieval
from simsiam_retrieval.encoder.onnx_encoder import Encoder, load_encoder
from simsiam_retrieval.images.decode import ImageError, decode
from simsiam_retrieval.images.files import list_images

FALSE_PAIRS = 1e-6  # share of pairs of different photos that may count as duplicates
GRID = np.round(np.arange(0.5, 1, 0.001), 3)
BATCH = 64
ORIENTATION = 0x0112


def jpeg(image: Image.Image, quality: int, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, **options)
    return buffer.getvalue()


def rescaled(image: Image.Image, scale: float, quality: int = 90) -> bytes:
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return jpeg(image.resize(size, Image.Resampling.LANCZOS), quality)


def cropped(image: Image.Image, keep: float, draw: random.Random) -> bytes:
    """A part with ``keep`` of each side, anywhere in the picture."""
    width, height = round(image.width * keep), round(image.height * keep)
    left, top = draw.randint(0, image.width - width), draw.randint(0, image.height - height)
    return jpeg(image.crop((left, top, left + width, top + height)), 90)


def turned(image: Image.Image) -> bytes:
    """Stored lying on its side, with the EXIF flag that tells a viewer to set it upright."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    return jpeg(image.transpose(Image.Transpose.ROTATE_90), 90, exif=exif)


ALTERATIONS: dict[str, Callable[[Image.Image, random.Random], bytes]] = {
    "three quarters of the size": lambda image, draw: rescaled(image, 0.75),
    "half the size": lambda image, draw: rescaled(image, 0.5),
    "JPEG quality 50": lambda image, draw: jpeg(image, 50),
    "JPEG quality 20": lambda image, draw: jpeg(image, 20),
    "half the size and JPEG quality 50": lambda image, draw: rescaled(image, 0.5, 50),
    "crop to 95 % of each side": lambda image, draw: cropped(image, 0.95, draw),
    "crop to 90 % of each side": lambda image, draw: cropped(image, 0.9, draw),
    "turned, with EXIF flag": lambda image, draw: turned(image),
}


def embedded(encoder: Encoder, files: list[Path], seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Vectors of the originals (n, dim), and of each alteration's copies (n, dim)."""
    draw = random.Random(seed)
    originals: list[np.ndarray] = []
    copies: dict[str, list[np.ndarray]] = {name: [] for name in ALTERATIONS}
    for start in range(0, len(files), BATCH):
        batch = []
        for file in files[start : start + BATCH]:
            try:
                batch.append((file.read_bytes(), decode(file)))
            except (ImageError, OSError) as error:
                print(f"left out: {file}: {error}")
        if batch:
            originals.append(encoder.embed([content for content, _ in batch]))
            for name, alter in ALTERATIONS.items():
                copies[name].append(encoder.embed([alter(image, draw) for _, image in batch]))
    return np.concatenate(originals), {name: np.concatenate(parts) for name, parts in copies.items()}


def different_pairs(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of all pairs of different photos, n (n - 1) / 2, and each photo's highest with another one, n."""
    similarity = vectors @ vectors.T
    pairs = similarity[np.triu_indices(len(vectors), 1)]
    np.fill_diagonal(similarity, -1)
    return pairs, similarity.max(axis=1)


def measured(encoder: Encoder, folder: Path, limit: int | None, seed: int) -> dict:
    """What one folder says, on the grid of thresholds."""
    files = [image.path for image in list_images([folder]).images]
    if limit is not None and len(files) > limit:
        files = sorted(random.Random(seed).sample(files, limit))
    originals, copies = embedded(encoder, files, seed)
    pairs, nearest = different_pairs(originals)
    cosines = {name: np.einsum("nd,nd->n", originals, vectors) for name, vectors in copies.items()}
    pairs.sort()
    return {
        "folder": "/".join(folder.resolve().parts[-2:]),
        "photos": len(originals),
        "different_pairs": len(pairs),
        "false_pairs": [int(len(pairs) - np.searchsorted(pairs, t)) for t in GRID],
        "photos_in_false_pairs": [int((nearest >= t).sum()) for t in GRID],
        "highest_different": [round(float(value), 4) for value in pairs[::-1][:10]],
        "missed": {name: [int((values < t).sum()) for t in GRID] for name, values in cosines.items()},
        "lowest_percentiles": {  # 0.1, 1 and 10 %
            name: [round(float(value), 4) for value in np.percentile(values, [0.1, 1, 10])]
            for name, values in cosines.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--encoder", help="run folder or .onnx file; by default the shipped one")
    parser.add_argument("--limit", type=int, help="at most so many photos of each folder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write the result to this JSON file")
    arguments = parser.parse_args()

    started = time.process_time()
    encoder = load_encoder(arguments.encoder, device="cpu", threads=1)
    folders = [measured(encoder, folder, arguments.limit, arguments.seed) for folder in arguments.folders]
    good = [
        i
        for i in range(len(GRID))
        if all(folder["false_pairs"][i] <= FALSE_PAIRS * folder["different_pairs"] for folder in folders)
    ]
    chosen = good[0] if good else len(GRID) - 1
    result = {
        "encoder": encoder.identity,
        "threshold": float(GRID[chosen]),
        "rule": f"lowest with at most {FALSE_PAIRS:g} of the pairs of different photos at or above it, in every folder",
        "grid": GRID.tolist(),
        "folders": folders,
        "seed": arguments.seed,
        "cpu_seconds": round(time.process_time() - started),
        "version": simsiam_retrieval.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    print(f"encoder {encoder.identity}, threshold {result['threshold']:.3f}\n")
    print("| | " + " | ".join(folder["folder"] for folder in folders) + " |\n|" + " --- |" * (len(folders) + 1))
    print("| photos | " + " | ".join(f"{folder['photos']:,}" for folder in folders) + " |")
    rates = [folder["false_pairs"][chosen] / folder["different_pairs"] * 1e6 for folder in folders]
    print("| false pairs, of a million pairs of different photos | " + " | ".join(f"{r:.2f}" for r in rates) + " |")
    rates = [folder["photos_in_false_pairs"][chosen] / folder["photos"] * 100 for folder in folders]
    print("| photos in such pairs, % | " + " | ".join(f"{r:.2f}" for r in rates) + " |")
    for name in ALTERATIONS:
        rates = [folder["missed"][name][chosen] / folder["photos"] * 100 for folder in folders]
        print(f"| missed: {name}, % | " + " | ".join(f"{r:.2f}" for r in rates) + " |")
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
