"""Outliers and label errors that were planted: how well `check` finds them, beside other ways.

    python benchmarks/check.py embed --data DATA --cache CACHE
    python benchmarks/check.py outliers --cache CACHE --out benchmarks/results/check/outliers.csv
    python benchmarks/check.py labels --cache CACHE --out benchmarks/results/check/labels.csv

DATA has the folders of SETS; vectors are those of the shipped encoder. "LightlyStudio typicality" is that of
lightly-mundig 0.1.16, the library with which LightlyStudio 1.2.0 computes it, on the same vectors. fastdup has a
program of its own, ``check_peers.py``.
"""

import argparse
import itertools
import random
from pathlib import Path

import numpy as np
from result_file import write_rows

# name -> folder, whose subfolders are the classes, and how many images at most
SETS = {
    "imagenette": ("imagenette-160/val", 2000),
    "clothing": ("clothing-160/train", 2000),
    "rsscn7": ("rsscn7", 2000),
    "xray": ("xray/data", 2000),
    "cifar10": ("cifar10/test", 2000),
    "caltech101": ("caltech101-128", 2000),
}
HOSTS = (
    "imagenette",
    "clothing",
    "rsscn7",
    "xray",
    "cifar10",
)  # labels: choices were made on caltech101 and imagenette
SEEDS = range(5)
PLANTED = ("of all sets", "of one set")


def embed(data: Path, cache: Path) -> None:
    from simsiam_retrieval import load_encoder

    encoder = load_encoder()
    cache.mkdir(parents=True, exist_ok=True)
    for name, (folder, most) in SETS.items():
        files = sorted(file for file in (data / folder).rglob("*") if file.suffix.lower() in (".jpg", ".jpeg", ".png"))
        random.Random(0).shuffle(files)
        files = files[:most]
        vectors = encoder.embed(files)
        labels = np.array([file.parent.name for file in files])
        np.savez(cache / f"{name}.npz", vectors=vectors.astype(np.float32), labels=labels)
        print(name, vectors.shape, len(set(labels)), flush=True)


def planted(sizes: dict[str, int], host: str, how: str, seed: int) -> list[tuple[str, int]]:
    """Which images of other sets are put among those of a set, 1 %: (set, position).

    Of all other sets together, or of one, another for each seed: such images are like each other.
    """
    others = [name for name in SETS if name != host]
    if how == "of one set":
        others = [others[seed]]
    every = [(name, row) for name in others for row in range(sizes[name])]
    drawn = np.random.default_rng(seed).choice(len(every), max(1, sizes[host] // 100), replace=False)
    return [every[place] for place in drawn]


def load(cache: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    with np.load(cache / f"{name}.npz") as stored:
        return stored["vectors"], stored["labels"]


def outliers(cache: Path, hosts: list[str]) -> list[dict]:
    """Average precision of images of other sets, planted at 1 %; mean over five draws."""
    from lightly_mundig import Typicality  # pyright: ignore[reportMissingImports]
    from sklearn.ensemble import IsolationForest
    from sklearn.metrics import average_precision_score
    from sklearn.neighbors import LocalOutlierFactor

    from simsiam_retrieval.collection.check.outliers import outlier_scores

    ways = {f"{method} k={k}": (method, k) for method in ("distance", "lof", "typicality") for k in (5, 10, 20, 50)}
    ways = {"mahalanobis": ("mahalanobis", 20)} | ways
    sets = {name: load(cache, name)[0] for name in SETS}
    sizes = {name: len(vectors) for name, vectors in sets.items()}
    rows = []
    for host, how in itertools.product(hosts, PLANTED):
        scores: dict[str, list[float]] = {}
        for seed in SEEDS:
            strange = np.array([sets[name][row] for name, row in planted(sizes, host, how, seed)])
            mixed = np.concatenate([sets[host], strange])
            truth = np.r_[np.zeros(sizes[host]), np.ones(len(strange))]
            forest = IsolationForest(random_state=seed).fit(mixed)
            found = {way: outlier_scores(mixed, method, k=k) for way, (method, k) in ways.items()} | {
                "scikit-learn LOF k=20": -LocalOutlierFactor(20, metric="cosine", algorithm="brute")
                .fit(mixed)
                .negative_outlier_factor_,
                "LightlyStudio typicality": -np.asarray(
                    Typicality(embeddings=mixed).calculate_typicality(num_nearest_neighbors=20)
                ),
                "isolation forest": -forest.score_samples(mixed),
            }
            for way, score in found.items():
                scores.setdefault(way, []).append(float(average_precision_score(truth, score)))
        found_here = [
            {"set": host, "planted": how, "way": way, "ap": round(float(np.mean(of)), 4)}
            | {"std": round(float(np.std(of)), 4)}
            for way, of in scores.items()
        ]
        print(host, how, {row["way"]: row["ap"] for row in found_here}, flush=True)
        rows += found_here
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["embed", "outliers", "labels"])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), help="only these")
    arguments = parser.parse_args()
    if arguments.what == "embed":
        embed(arguments.data, arguments.cache)
        return
    if arguments.what == "outliers":
        rows = outliers(arguments.cache, arguments.sets or [*HOSTS, "caltech101"])
    else:
        rows = labels(arguments.cache, arguments.sets or list(HOSTS))
    write_rows(rows, arguments.out)


def labels(cache: Path, hosts: list[str]) -> list[dict]:
    """Precision at the number flipped, 5 % of labels flipped to another class; mean over five draws."""
    from cleanlab.rank import get_label_quality_scores  # pyright: ignore[reportMissingImports]

    from simsiam_retrieval.collection.check.label_errors import find_label_errors

    rows = []
    for name in hosts:
        vectors, names = load(cache, name)
        classes, truth = np.unique(names, return_inverse=True)
        scores: dict[str, list[float]] = {}
        for seed in SEEDS:
            generator = np.random.default_rng(seed)
            flipped = generator.choice(len(truth), len(truth) // 20, replace=False)
            given = truth.copy()
            given[flipped] = (truth[flipped] + generator.integers(1, len(classes), len(flipped))) % len(classes)
            found = find_label_errors(vectors, classes[given].tolist())
            every = np.arange(len(found.rows))
            own = found.probabilities[every, found.truth]
            other = found.probabilities.copy()
            other[every, found.truth] = -1
            ranked = {
                "check: probe and neighbours": found.score,
                "probe only (normalised margin)": other.max(axis=1) - own,
                "neighbours only": -found.votes[every, found.truth],
            }
            for method in ("self_confidence", "normalized_margin", "confidence_weighted_entropy"):
                ranked[f"cleanlab {method}"] = -get_label_quality_scores(
                    found.truth, found.probabilities.astype(float), method=method
                )
            for way, score in ranked.items():
                first = found.rows[np.argsort(-score, kind="stable")[: len(flipped)]]
                scores.setdefault(way, []).append(float(np.isin(first, flipped).mean()))
        rows += [
            {"set": name, "way": way, "precision": round(float(np.mean(of)), 4), "std": round(float(np.std(of)), 4)}
            for way, of in scores.items()
        ]
        print(name, {row["way"]: row["precision"] for row in rows if row["set"] == name}, flush=True)
    return rows


if __name__ == "__main__":
    main()
