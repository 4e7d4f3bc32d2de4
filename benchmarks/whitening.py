"""How far to whiten: ``whitening.py PLAIN.onnx --fit FOLDER… --out FILE.json NAME=TRAIN:TEST…``.

PLAIN.onnx is an encoder without whitening. Its features of images in the ``--fit`` folders give PCA; the vectors of
each labelled set are then reduced to ``--dim`` numbers, whitened with several powers. Of each: top-1 of 20 neighbours,
voting as ``probe`` does (up to 10,000 images of TRAIN vote for up to 4,000 of TEST); how often the nearest neighbour
in small collections (of 100, 300, … images of TEST, mean of 20 draws) is of the image's class; the set's noise level;
and how often images of the *other* sets come above it when they are searched among 2,000 of TRAIN, which they should
not.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from hardware import processor
from result_file import write_result
from torch import Tensor

from simsiam_retrieval.collection.index.noise_level import measure_noise
from simsiam_retrieval.encoder.embed_files import embed_files
from simsiam_retrieval.encoder.find_encoder import find_encoder
from simsiam_retrieval.encoder.onnx_encoder import Encoder
from simsiam_retrieval.images.files import list_images
from simsiam_retrieval.metrics.knn import nearest, vote
from simsiam_retrieval.metrics.whitening import fit_whitening

POWERS = (None, 0.0, 0.25, 0.5, 0.75, 1.0)  # None: the vectors as they are
VOTERS, QUERIES = 10_000, 4000
INDEXED, STRANGERS = 2000, 500
K, TEMPERATURE = 20, 0.07
SMALL, DRAWS = (100, 300, 1000), 20


def embedded(encoder: Encoder, folders: list[Path], limit: int) -> tuple[Tensor, list[str]]:
    """Unit vectors (n, dim) of up to ``limit`` images drawn at random, and the names of their folders."""
    files = list_images(folders).images
    chosen = [files[row] for row in np.random.default_rng(0).permutation(len(files))[:limit]]
    found = [one for chunk in embed_files(chosen, encoder) for one in chunk if one.vector is not None]
    vectors = np.stack([np.asarray(one.vector) for one in found])
    return torch.from_numpy(vectors), [one.file.path.parent.name for one in found]


def top1(bank: Tensor, classes: list[str], queries: Tensor, truth: list[str]) -> float:
    names = sorted({*classes, *truth})
    numbers = {name: number for number, name in enumerate(names)}
    labels = torch.tensor([numbers[name] for name in classes])
    similarity, index = nearest(bank, queries, K)
    scores = vote(similarity, labels[index], len(names), TEMPERATURE)
    return float((scores.argmax(dim=1) == torch.tensor([numbers[name] for name in truth])).double().mean())


def nearest_right(vectors: Tensor, classes: list[str], count: int) -> float:
    """How often the nearest neighbour among ``count`` images is of the same class, mean of draws."""
    names = np.array(classes)
    right = []
    for seed in range(DRAWS):
        rows = np.random.default_rng(seed).permutation(len(vectors))[:count]
        similarity = (vectors[rows] @ vectors[rows].T).fill_diagonal_(-2)
        right.append((names[rows][similarity.argmax(dim=1).numpy()] == names[rows]).mean())
    return float(np.mean(right))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder")
    parser.add_argument("sets", nargs="+", metavar="NAME=TRAIN:TEST")
    parser.add_argument("--fit", type=Path, nargs="+", required=True)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    encoder = Encoder(find_encoder(given.encoder), device="cpu")
    fitted, _ = embedded(encoder, given.fit, VOTERS)
    sets = {}
    for word in given.sets:
        name, _, both = word.partition("=")
        train, _, test = both.partition(":")
        sets[name] = (embedded(encoder, [Path(train)], VOTERS), embedded(encoder, [Path(test)], QUERIES))
    rows = []
    for power in POWERS:
        reduce = (lambda x: x) if power is None else fit_whitening(fitted, given.dim, power=power)
        reduced = {name: (reduce(train[0]), reduce(test[0])) for name, (train, test) in sets.items()}
        row: dict = {"power": power, "dim": encoder.dim if power is None else given.dim, "sets": {}}
        for name, (train, test) in sets.items():
            bank, queries = reduced[name]
            noise = measure_noise(bank[:INDEXED].numpy())
            assert noise is not None
            level = noise.typical
            row["sets"][name] = {
                "top1": round(top1(bank, train[1], queries, test[1]), 4),
                "nearest right": {n: round(nearest_right(queries, test[1], n), 3) for n in SMALL if n <= len(queries)},
                "noise level": round(level, 4),
                "strangers above it": {
                    other: round(float(((x[:STRANGERS] @ bank[:INDEXED].T).amax(1) > level).double().mean()), 3)
                    for other, (_, x) in reduced.items()
                    if other != name
                },
            }
        rows.append(row)
        print(json.dumps(row), flush=True)
    result = {"encoder": encoder.identity, "fitted_on": len(fitted), "seed": 0, "processor": processor(), "rows": rows}
    write_result(result, given.out)


if __name__ == "__main__":
    main()
