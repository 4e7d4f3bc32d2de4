"""How far to whiten, by the number of images: ``whitening_images.py WEIGHTS --out FILE.json NAME=FOLDER…``.

Of each folder (subfolders are classes) 100 to 4,000 images are drawn. PCA is fitted to their features and they are
searched among each other: top-1 of 20 neighbours, leave one out, means of up to five draws. WEIGHTS and ``--features``
as ``features.py`` takes them. The power 1 is full whitening, "none" the features as they are.
"""

import argparse
import json
import statistics
from pathlib import Path

import numpy as np
import torch
from features import Measured, backbone_of, squares_of
from hardware import processor
from simsiam_retrieval.export.check_parity import knn_accuracy  # pyright: ignore[reportMissingImports]
from torch import Tensor

from simsiam_retrieval.methods.feature_description import Features
from simsiam_retrieval.metrics.whitening import COMPONENTS, fit_whitening

COUNTS = (100, 200, 300, 500, 1000, 2000, 4000)
POWERS = (None, 0.0, 0.25, 0.5, 0.75, 1.0)  # None: the features as they are
DRAWS, DRAWN = 5, 1000  # draws, and images in all draws of a number together


def accuracies(vectors: Tensor, labels: np.ndarray, count: int) -> dict[str, float]:
    """By power: mean of draws of ``count`` images."""
    found: dict[str, list[float]] = {}
    for seed in range(max(1, min(DRAWS, DRAWN // count))):
        rows = np.random.default_rng(seed).permutation(len(vectors))[:count]
        x = vectors[torch.from_numpy(rows)]
        plain = fit_whitening(x, COMPONENTS, power=0.0)
        projected = (x - plain.mean) @ plain.projection  # the axes are the same for every power
        deviation = projected.double().square().mean(dim=0).sqrt().float()
        for power in POWERS:
            reduced = x if power is None else torch.nn.functional.normalize(projected / deviation**power, dim=1)
            found.setdefault("none" if power is None else f"{power:g}", []).append(
                knn_accuracy(reduced.numpy(), labels[rows])
            )
    return {power: round(statistics.mean(values), 4) for power, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("sets", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--features", nargs="+", default=["stage4", "stage1@4x4,stage2@4x4,flip"])
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    descriptions = [Features.parse(text) for text in given.features]
    measured = Measured(backbone_of(given.weights), descriptions, given.side)
    rows = []
    for word in given.sets:
        name, _, folder = word.partition("=")
        squares, classes, _ = squares_of([Path(folder)], COUNTS[-1], given.side)
        labels = np.unique(classes, return_inverse=True)[1]
        for one, vectors in zip(descriptions, measured.vectors(squares), strict=True):
            for count in (count for count in COUNTS if count <= len(vectors)):
                rows.append({"features": str(one), "set": name, "images": count, **accuracies(vectors, labels, count)})
                print(json.dumps(rows[-1]), flush=True)
    result = {"weights": Path(given.weights).name, "side": given.side, "processor": processor(), "rows": rows}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    powers = ["none" if power is None else f"{power:g}" for power in POWERS]
    print("| features | images | " + " | ".join(powers) + " |\n| --- | --: |" + " --: |" * len(powers))
    for one in map(str, descriptions):
        for count in COUNTS:
            own = [row for row in rows if (row["features"], row["images"]) == (one, count)]
            if len(own) == len(given.sets):  # means over all sets, or none
                means = (f"{100 * statistics.mean(row[power] for row in own):.1f}" for power in powers)
                print(f"| {one} | {count} | " + " | ".join(means) + " |")


if __name__ == "__main__":
    main()
