"""Fashion-MNIST's idx files -> PNGs in one subfolder a class: ``python benchmarks/fashion_mnist.py SOURCE OUT``.

SOURCE holds the four ``*-ubyte.gz`` files (Debian: dataset-fashion-mnist, /usr/share/datasets/fashion-mnist).
"""

import gzip
import sys
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot")


def read_idx(file: Path) -> np.ndarray:
    """An idx file of unsigned bytes: magic 0 0 8 <dimensions>, big-endian sizes, data."""
    content = gzip.decompress(file.read_bytes())
    if content[:3] != b"\0\0\x08":
        raise SystemExit(f"{file}: not an idx file of bytes")
    dimensions = content[3]
    shape = np.frombuffer(content, ">i4", dimensions, 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def main(source: Path, out: Path) -> None:
    for part, prefix in (("train", "train"), ("test", "t10k")):
        images = read_idx(source / f"{prefix}-images-idx3-ubyte.gz")
        labels = read_idx(source / f"{prefix}-labels-idx1-ubyte.gz")
        for name in CLASSES:
            (out / part / name).mkdir(parents=True, exist_ok=True)
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            Image.fromarray(image).save(out / part / CLASSES[label] / f"{number:05}.png")
        print(f"{out / part}: {len(images)} images")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
