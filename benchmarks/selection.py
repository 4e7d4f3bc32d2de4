"""Accuracy of a linear probe after labelling the images that each strategy of `select` chooses, beside random ones.

    python benchmarks/selection.py embed --data DATA --cache CACHE
    python benchmarks/selection.py budgets --cache CACHE --out benchmarks/results/select/budgets.csv
    python benchmarks/selection.py grow --cache CACHE --out benchmarks/results/select/grow.csv
    python benchmarks/selection.py scale --images 100000 --out benchmarks/results/select/scale.csv

DATA has the folders of SETS; vectors are those of the shipped encoder. The default strategy was chosen on CHOSEN_ON;
the other sets are reported. For each seed 70 % of the images are the pool that is chosen from, 4,000 at most; the
others are the test images where a set has none of its own. (The file is not called select.py: that would hide Python's
module of this name from the scripts beside it.)
"""

import argparse
import random
import resource
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from result_file import write_rows

from simsiam_retrieval.collection.explore.few_shot_classifier import Scaling, train
from simsiam_retrieval.collection.selection.select_images import STRATEGIES, select_images
from simsiam_retrieval.metrics.intervals import mean_interval

# name -> training folders, test folders (None: a part of the former, other images for each seed), images at most
SETS: dict[str, tuple[tuple[str, ...], tuple[str, ...] | None, int]] = {
    "imagenette": (("imagenette-160/train",), ("imagenette-160/val",), 9469),
    "clothing": (("clothing-160/train", "clothing-160/validation"), ("clothing-160/test",), 3409),
    "rsscn7": (("rsscn7",), None, 2000),
    "cifar10": (("cifar10/train",), ("cifar10/test",), 4000),
    "caltech101": (("caltech101-128",), None, 2000),
    "grocery": (("grocery/dataset/train",), ("grocery/dataset/val", "grocery/dataset/test"), 4000),
}
CHOSEN_ON = ("imagenette", "clothing")
BUDGETS = (50, 100, 200)
SEEDS = range(5)
POOL, LARGEST = 0.7, 4000
TESTED = 2000  # test images at most
DRAWS = 3  # random choices a seed
LIGHTLY = {"LightlyStudio diverse": 0.0, "LightlyStudio diverse, typical": 1.0}  # strength of its typicality
ORACLE = "knows all labels"  # a choice that no user can make; how much any choice could bring
ORACLE_WIDTH = 0.5  # of its kernel, exp(cosine / width)


def embed(data: Path, cache: Path, names: list[str]) -> None:
    from simsiam_retrieval import load_encoder

    encoder = load_encoder()
    cache.mkdir(parents=True, exist_ok=True)

    def listed(folders: tuple[str, ...]) -> list[Path]:
        found = sorted(
            file
            for folder in folders
            for file in (data / folder).rglob("*")
            if file.suffix.lower() in (".jpg", ".jpeg", ".png")
        )
        random.Random(0).shuffle(found)
        return found

    for name in names:
        folders, tests, most = SETS[name]
        files = listed(folders)[:most]
        held = listed(tests or ())[:TESTED]
        np.savez(
            cache / f"{name}.npz",
            vectors=encoder.embed(files).astype(np.float32),
            labels=np.array([file.parent.name for file in files]),
            test=encoder.embed(held).astype(np.float32) if held else np.zeros((0, encoder.dim), np.float32),
            test_labels=np.array([file.parent.name for file in held], str),
        )
        print(name, len(files), len(held), flush=True)


class Pool:
    """What is chosen from with one seed, and how well a probe does."""

    def __init__(self, cache: Path, name: str, seed: int) -> None:
        with np.load(cache / f"{name}.npz") as stored:
            vectors, labels = stored["vectors"], stored["labels"]
            self._test, self._truth = stored["test"], stored["test_labels"]
        order = np.random.default_rng(seed).permutation(len(vectors))
        size = int(POOL * len(vectors))
        rows = np.sort(order[: min(size, LARGEST)])
        if not len(self._test):
            self._test, self._truth = vectors[order[size:]], labels[order[size:]]
        self.vectors, self.labels = np.ascontiguousarray(vectors[rows]), labels[rows]
        self.ids = np.arange(len(rows))
        self._scaling = Scaling.of(self.vectors)

    def select(self, strategy: str, count: int, seed: int, known: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        labels = {} if known is None else dict(zip(known.tolist(), self.labels[known].tolist(), strict=True))
        chosen = select_images(self.ids, self.vectors, count, strategy, labels=labels, seed=seed)
        return np.array([choice.id for choice in chosen])

    def select_by_lightly(self, count: int, typical: float) -> NDArray[np.int64]:
        """The choice of LightlyStudio 1.2.0, whose library lightly-mundig 0.1.16 can be had by itself."""
        from lightly_mundig import Selection, Typicality  # pyright: ignore[reportMissingImports]

        selection = Selection()
        selection.add_diversifying_strategy(
            embeddings=self.vectors, strength=1.0, stopping_condition_minimum_distance=None
        )
        if typical:
            weights = Typicality(embeddings=self.vectors).calculate_typicality(num_nearest_neighbors=20)
            selection.add_weighting_strategy(weights=np.asarray(weights, np.float32), strength=typical)
        return np.array(
            selection.run_selection(
                preselected_indices=(), n_total_samples=len(self.vectors), n_samples_to_select=count
            )
        )

    def select_knowing_labels(self, count: int) -> NDArray[np.int64]:
        """The most representative images of each class: facility location, greedily, where only images of the same
        class stand for each other. Classes do not affect each other, so the choices in each are merged by their gains.
        """
        found: list[tuple[float, int]] = []
        for name in np.unique(self.labels):
            rows = np.flatnonzero(self.labels == name)
            kernel = np.exp((self.vectors[rows] @ self.vectors[rows].T - 1) / ORACLE_WIDTH)
            covered = np.zeros(len(rows), np.float32)
            for _ in range(min(count, len(rows))):
                gains = np.maximum(kernel - covered, 0).sum(axis=1)
                best = int(gains.argmax())
                found.append((-float(gains[best]), int(rows[best])))
                np.maximum(covered, kernel[best], out=covered)
        return np.array([row for _, row in sorted(found)[:count]])

    def accuracy(self, rows: NDArray[np.int64]) -> float:
        if len(set(self.labels[rows])) < 2:
            return 0.0
        probe = train(self.vectors[rows], self.labels[rows].tolist(), self._scaling)
        found = np.array(probe.classes)[probe.probabilities(self._test).argmax(axis=1)]
        return float((found == self._truth).mean())


def _rows(name: str, what: str, count: int, ours: list[float], at_random: list[float]) -> dict[str, object]:
    gain = [100 * (own - other) for own, other in zip(ours, at_random, strict=True)]
    low, high = mean_interval(gain)
    return {
        "set": name,
        "strategy": what,
        "labels": count,
        "accuracy": round(100 * float(np.mean(ours)), 1),
        "random": round(100 * float(np.mean(at_random)), 1),
        "gain": round(float(np.mean(gain)), 1),
        "low": round(low, 1),
        "high": round(high, 1),
    }


def budgets(cache: Path, names: list[str]) -> list[dict]:
    """All at once, without labels."""
    ways = [name for name in STRATEGIES if name not in ("auto", "uncertain", "random")]
    rows = []
    for name in names:
        scores: dict[tuple[str, int], list[float]] = {}
        for seed in SEEDS:
            pool = Pool(cache, name, seed)
            for count in BUDGETS:
                drawn = [pool.accuracy(pool.select("random", count, 100 * seed + draw)) for draw in range(DRAWS)]
                scores.setdefault(("random", count), []).append(float(np.mean(drawn)))
                for way in ways:
                    scores.setdefault((way, count), []).append(pool.accuracy(pool.select(way, count, seed)))
                for way, typical in LIGHTLY.items():
                    rows_ = pool.select_by_lightly(count, typical)
                    scores.setdefault((way, count), []).append(pool.accuracy(rows_))
                scores.setdefault((ORACLE, count), []).append(pool.accuracy(pool.select_knowing_labels(count)))
        rows += [
            _rows(name, way, count, of, scores["random", count])
            for (way, count), of in scores.items()
            if way != "random"
        ]
        _show(rows, name)
    return rows


def grow(cache: Path, names: list[str]) -> list[dict]:
    """From 50 labels that the default chose to 100 and 200, the probe being taught anew each time."""
    ways = [name for name in STRATEGIES if name not in ("auto", "random")]
    rows = []
    for name in names:
        scores: dict[tuple[str, int], list[float]] = {}
        for seed in SEEDS:
            pool = Pool(cache, name, seed)
            first = pool.select("auto", BUDGETS[0], seed)
            for count in BUDGETS[1:]:
                drawn = [pool.accuracy(pool.select("random", count, 100 * seed + draw)) for draw in range(DRAWS)]
                scores.setdefault(("random", count), []).append(float(np.mean(drawn)))
            for way in ways:
                known = first
                for count in BUDGETS[1:]:
                    known = np.concatenate([known, pool.select(way, count - len(known), seed, known)])
                    scores.setdefault((way, count), []).append(pool.accuracy(known))
        rows += [
            _rows(name, way, count, of, scores["random", count])
            for (way, count), of in scores.items()
            if way != "random"
        ]
        _show(rows, name)
    return rows


def _show(rows: list[dict], name: str) -> None:
    for row in rows:
        if row["set"] == name:
            print(*row.values(), sep="\t", flush=True)


def scale(images: int) -> list[dict]:
    """CPU seconds and peak memory for random unit vectors of 256 numbers around 200 centres, without the catalog."""
    from simsiam_retrieval.collection.check.outliers import outlier_scores
    from simsiam_retrieval.collection.duplicates.follow_leaders import follow_leaders

    generator = np.random.default_rng(0)
    centres = generator.standard_normal((200, 256), np.float32)
    vectors = generator.standard_normal((images, 256), np.float32)
    for start in range(0, images, 10_000):
        vectors[start : start + 10_000] += centres[generator.integers(0, 200, len(vectors[start : start + 10_000]))]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = np.arange(images)
    labels = {id_: "abcde"[id_ % 5] for id_ in range(100)}
    rows = []

    def measured(what: str, run: Callable[[], object]) -> None:
        start = time.process_time()
        run()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        seconds = round(time.process_time() - start, 1)
        rows.append(
            {"images": images, "what": what, "seconds": seconds, "peak_mib": round(peak)}
            | {"vectors_mib": round(vectors.nbytes / 2**20)}
        )
        print(*rows[-1].values(), sep="\t", flush=True)

    for strategy in STRATEGIES:
        if strategy in ("auto", "random"):
            continue
        known = labels if strategy in ("uncertain", "mixed") else {}
        measured(
            f"select 100 {strategy}", lambda way=strategy, of=known: select_images(ids, vectors, 100, way, labels=of)
        )
    measured("select 1000 representative", lambda: select_images(ids, vectors, 1000, "representative"))
    measured("check outliers", lambda: outlier_scores(vectors))
    if images <= 200_000:  # time grows with the square
        measured("check near-duplicates", lambda: follow_leaders(vectors, 0.95, lambda rows: None))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["embed", "budgets", "grow", "scale"])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", "The number of unique classes")  # scikit-learn, of 50 images of 102 classes
    if arguments.what == "embed":
        embed(arguments.data, arguments.cache, arguments.sets)
        return
    if arguments.what == "scale":
        rows = scale(arguments.images)
    else:
        rows = {"budgets": budgets, "grow": grow}[arguments.what](arguments.cache, arguments.sets)
    write_rows(rows, arguments.out)


if __name__ == "__main__":
    main()
