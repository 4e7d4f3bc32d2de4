"""Outliers and label errors that were planted: how well `check` finds them, beside other ways.

    python benchmarks/check.py embed --data DATA --cache CACHE
    python benchmarks/check.py outliers --cache CACHE --out benchmarks/results/check/outliers.csv
    python benchmarks/check.py labels --cache CACHE --out benchmarks/results/check/labels.csv

DATA has the folders of SETS; vectors are those of the shipped encoder.
"""

import argparse
import csv
import random
from pathlib import Path

import numpy as np

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


def load(cache: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    with np.load(cache / f"{name}.npz") as stored:
        return stored["vectors"], stored["labels"]


def outliers(cache: Path, hosts: list[str]) -> list[dict]:
    """Average precision of images of another set, planted at 1 %; mean over five draws."""
    from sklearn.ensemble import IsolationForest
    from sklearn.metrics import average_precision_score
    from sklearn.neighbors import LocalOutlierFactor

    from simsiam_retrieval.collection.check.outliers import outlier_scores

    ways = {f"{method} k={k}": (method, k) for method in ("distance", "lof", "typicality") for k in (5, 10, 20, 50)}
    rows = []
    for host in hosts:
        vectors, _ = load(cache, host)
        scores: dict[str, list[float]] = {}
        for seed in SEEDS:
            generator = np.random.default_rng(seed)
            count = max(1, len(vectors) // 100)
            others = [name for name in SETS if name != host]
            planted = np.concatenate([load(cache, name)[0] for name in others])
            planted = planted[generator.choice(len(planted), count, replace=False)]
            mixed, truth = np.concatenate([vectors, planted]), np.r_[np.zeros(len(vectors)), np.ones(count)]
            for way, (method, k) in ways.items():
                scores.setdefault(way, []).append(average_precision_score(truth, outlier_scores(mixed, method, k=k)))
            peer = LocalOutlierFactor(20, metric="cosine", algorithm="brute").fit(mixed)
            scores.setdefault("scikit-learn LOF k=20", []).append(
                average_precision_score(truth, -peer.negative_outlier_factor_)
            )
            forest = IsolationForest(random_state=seed).fit(mixed)
            scores.setdefault("isolation forest", []).append(
                average_precision_score(truth, -forest.score_samples(mixed))
            )
        rows += [
            {"set": host, "way": way, "ap": round(float(np.mean(found)), 4), "std": round(float(np.std(found)), 4)}
            for way, found in scores.items()
        ]
        print(host, {row["way"]: row["ap"] for row in rows if row["set"] == host}, flush=True)
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
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with arguments.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


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
