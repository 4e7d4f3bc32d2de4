"""Is the noise level of a small collection that of a large one, also with copies?

    python benchmarks/noise_small.py --out FILE NAME=FOLDER…

Of each folder, 700 images are embedded with the shipped encoder, and a copy of 350 of them that has lost its outer 4 %:
its cosine with the original is often just below the threshold of near-duplicates. Small collections are drawn from
both, 8 times each. The table shows how far their level's base lies from that of all 700 originals (mean and standard
deviation): ``quantile`` is the 99.9 % quantile alone, ``used`` what ``measure_noise`` does.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from hardware import processor
from numpy.typing import NDArray
from PIL import Image

from simsiam_retrieval.collection.duplicates.thresholds import CALIBRATED
from simsiam_retrieval.collection.index import noise_level
from simsiam_retrieval.collection.index.noise_level import measure_noise
from simsiam_retrieval.encoder.find_encoder import find_encoder
from simsiam_retrieval.encoder.onnx_encoder import Encoder

SIZES = ((60, 0), (100, 0), (200, 0), (72, 22), (100, 30), (200, 60), (60, 60), (150, 150))  # images, copies besides
IMAGES, COPIED, DRAWS = 700, 350, 8
EDGE = 0.04


def embedded(encoder: Encoder, folder: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Unit vectors of random images, and of trimmed copies of the first of them."""
    kinds = {".jpg", ".jpeg", ".png"}
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in kinds)
    images = []
    for row in np.random.default_rng(0).permutation(len(files))[:IMAGES]:
        with Image.open(files[row]) as image:
            images.append(image.convert("RGB"))
    trimmed = [
        image.crop(
            (
                int(EDGE * image.width),
                int(EDGE * image.height),
                int((1 - EDGE) * image.width),
                int((1 - EDGE) * image.height),
            )
        )
        for image in images[:COPIED]
    ]
    return encoder.embed(images), encoder.embed(trimmed)


def base(vectors: NDArray[np.float32], alike: float, few: int) -> float:
    before, noise_level.FEW = noise_level.FEW, few
    found = measure_noise(vectors, alike)
    noise_level.FEW = before
    assert found is not None
    return found.base


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    encoder = Encoder(find_encoder(None), device="cpu")
    alike = CALIBRATED[encoder.identity]
    rng = np.random.default_rng(1)
    rows = []
    for pair in given.folders:
        name, _, folder = pair.partition("=")
        originals, copies = embedded(encoder, Path(folder))
        whole = base(originals, alike, 0)
        for images, copied in SIZES:
            found: dict[str, list[float]] = {"quantile": [], "used": []}
            for _ in range(DRAWS):
                drawn = rng.permutation(COPIED if copied else len(originals))[:images]
                vectors = np.concatenate([originals[drawn], copies[drawn[:copied]]])
                found["quantile"].append(base(vectors, alike, 0) - whole)
                found["used"].append(base(vectors, alike, noise_level.FEW) - whole)
            said = {rule: [round(float(f(values)), 3) for f in (np.mean, np.std)] for rule, values in found.items()}
            rows.append({"set": name, "images": images, "copies": copied, "base of all": round(whole, 3), **said})
            print(json.dumps(rows[-1]), flush=True)
    facts = {"encoder": encoder.identity, "processor": processor(), "draws": DRAWS}
    given.out.write_text(json.dumps({**facts, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
