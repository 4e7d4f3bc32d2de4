"""The probe of one extractor: all measurements of its features on two labelled folders."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..core import cli
from ..core.errors import UserError
from ..core.progress import bar
from ..images.files import ImageFile
from ..metrics.accuracy import top_1_and_5
from ..metrics.knn import nearest, sweep, vote
from ..metrics.retrieval import retrieve
from ..metrics.spectrum import alignment, alpha_req, explained_variance_auc, lidar, rankme, uniformity
from ..metrics.whitening import fit_whitening
from ..training.pixel_store import load_store
from .extractors import Extractor, unit_rows
from .fewshot import few_shot
from .linear_probe import common_scale, fit
from .near_duplicates import detect, embed_bytes, make_pairs
from .paper_protocol import paper_scores
from .probe_options import Options
from .protocols import QUALITY_IMAGES, SMALL_K, SWEEP_K, SWEEP_TEMPERATURES, TEMPERATURE
from .random_views import view_features
from .stored_predictions import Guesses

VIEWS = 10  # views of each image, for LiDAR
BARELY = 0.8  # last loss / first loss above which the paper's classifier counts as hardly trained
VIEW_SIDE = 96  # smallest side in pixels of the stored squares that views are cropped from


@dataclass
class Split:
    """The training or test files of the probe, and their labels.

    Attributes:
        files: The files.
        labels: int64 (n,).
    """

    files: list[ImageFile]
    labels: Tensor


@dataclass
class Task:
    """The task on which every extractor is measured."""

    train: Split
    test: Split
    classes: list[str]
    options: Options = field(default_factory=Options)
    workers: int | None = None


def probe(
    extractor: Extractor,
    train: NDArray,
    test: NDArray,
    task: Task,
    backbone: nn.Module | None,
    on_phase: Callable[[str], None] = lambda what: None,
) -> tuple[dict[str, Any], dict[str, Guesses]]:
    """Measure the features of one extractor.

    Args:
        extractor: The extractor.
        train: Stored vectors of the training files (n, d).
        test: Stored vectors of the test files (m, d).
        task: What to measure.
        backbone: The torch network of the extractor, for the paper's protocol; None leaves that out.
        on_phase: Called with what begins.

    Returns:
        The extractor's part of the report, and the predictions of each classifier.
    """
    x, queries = unit_rows(train), unit_rows(test)
    guesses: dict[str, Guesses] = {}
    measured: dict[str, Any] = {
        "name": extractor.name,
        "encoder": extractor.identity,
        "about": extractor.about,
        "dim": extractor.dim,
        "results": _classifiers(x, queries, task, guesses, on_phase),
    }
    if task.options.shots:
        on_phase("few labels")
        measured["few_shot"] = _few_shot(x, queries, task)
    on_phase("retrieval and quality")
    measured["retrieval"] = _retrieval(queries, task.test.labels)
    measured["quality"] = _quality(queries)
    del x
    if task.options.views:
        on_phase("random views")
        measured["quality"] |= _view_quality(extractor, task)
    if task.options.duplicates:
        on_phase("near-duplicates")
        measured["duplicates"] = _duplicates(extractor, task)
    if task.options.paper and backbone is not None:
        measured["results"]["linear-paper"] = _paper(extractor, backbone, task, guesses)
    return measured, guesses


def _classifiers(
    x: Tensor, queries: Tensor, task: Task, guesses: dict[str, Guesses], on_phase: Callable[[str], None]
) -> dict[str, Any]:
    on_phase("kNN")
    labels, truth, classes = task.train.labels, task.test.labels, len(task.classes)
    k = min(task.options.k, len(x))
    similarity, index = nearest(x, queries, max(k, SMALL_K, *SWEEP_K))
    voters = labels[index]

    def knn(name: str, similarity: Tensor, voters: Tensor, k: int) -> dict[str, Any]:
        scores = vote(similarity[:, :k], voters[:, :k], classes, TEMPERATURE)
        guesses[name] = _guesses(scores / scores.sum(dim=1, keepdim=True))
        return {**top_1_and_5(scores, truth), "k": min(k, len(x)), "temperature": TEMPERATURE}

    swept = sweep(similarity, voters, truth, classes, [k for k in SWEEP_K if k <= len(x)], SWEEP_TEMPERATURES)
    results = {"knn": {**knn("knn", similarity, voters, k), "sweep": swept}}
    results[f"knn-{SMALL_K}"] = knn(f"knn-{SMALL_K}", similarity, voters, SMALL_K)
    whitening = fit_whitening(x)
    similarity, index = nearest(whitening(x), whitening(queries), SMALL_K)
    components = whitening.projection.shape[1]
    whitened = knn("knn-whitened", similarity, labels[index], SMALL_K)
    results["knn-whitened"] = {**whitened, "components": components}
    on_phase("linear probe")
    linear = fit(x, labels, classes, seed=task.options.seed)
    chosen = {"lr": linear.lr, "weight_decay": linear.weight_decay, "seed": task.options.seed}
    scores = linear.scores(queries)
    results["linear"] = {**top_1_and_5(scores, truth), **chosen}
    guesses["linear"] = _guesses(scores.softmax(dim=1))
    return results


def _guesses(probability: Tensor) -> Guesses:
    """The most probable class of each row of (n, classes)."""
    confidence, predicted = probability.max(dim=1)
    return Guesses(predicted.numpy().astype(np.int32), confidence.numpy().astype(np.float16))


def _few_shot(x: Tensor, queries: Tensor, task: Task) -> list[dict[str, Any]]:
    smallest = int(torch.bincount(task.train.labels, minlength=len(task.classes)).min())
    shots = [number for number in task.options.shots if number <= smallest]
    if not shots:
        return []
    scale = common_scale(x)
    results = few_shot(
        x, task.train.labels, queries, task.test.labels, len(task.classes), shots, scale, seed=task.options.seed
    )
    return [
        {"shots": one.shots, "top1": one.top1, "top1_interval": list(one.interval), "draws": one.draws}
        for one in results
    ]


def _retrieval(queries: Tensor, labels: Tensor) -> dict[str, Any] | None:
    if int(torch.bincount(labels).max()) < 2:
        return None
    found = {}
    for name, own in (("own_left_out", False), ("own_included", True)):
        result = retrieve(queries, labels, own=own)
        found[name] = {f"recall@{k}": value for k, value in result.recall.items()}
        found[name] |= {"map@r": result.map_at_r, "queries": result.queries, "left_out": result.left_out}
    return found


def _spaced(count: int, most: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def _quality(queries: Tensor) -> dict[str, Any]:
    x = queries[torch.from_numpy(_spaced(len(queries), QUALITY_IMAGES))]
    if len(x) < 2:
        return {"images": len(x)}
    return {
        "images": len(x),
        "rankme": rankme(x),
        "alpha_req": alpha_req(x),
        "explained_variance_auc": explained_variance_auc(x),
        "uniformity": uniformity(x),
    }


def _view_quality(extractor: Extractor, task: Task) -> dict[str, Any]:
    picked = [task.test.files[index] for index in _spaced(len(task.test.files), task.options.views)]
    # larger than the view, so that small crops still have enough pixels
    side = max(VIEW_SIDE, round(1.5 * extractor.side))
    store = load_store(picked, side, workers=task.workers, reading=extractor.reading)
    features = view_features(extractor, store, VIEWS, task.options.seed)
    if len(features) < 2:
        return {}
    return {
        "view_images": len(features),
        "views": VIEWS,
        "alignment": alignment(features[:, 0], features[:, 1]),
        "lidar": lidar(features),
    }


def _duplicates(extractor: Extractor, task: Task) -> dict[str, Any]:
    pairs = make_pairs(task.test.files, task.options.duplicates, task.options.seed)
    if len(pairs.originals) < 2:
        raise UserError("--duplicates needs at least two different images in the test folder")
    copies = {kind: embed_bytes(extractor, contents) for kind, contents in pairs.copies.items()}
    found = detect(embed_bytes(extractor, pairs.originals), copies)
    return {
        "images": len(pairs.originals),
        "prevalence": found.prevalence,
        "average_precision": found.average_precision,
        "best_f1": found.best_f1,
        "best_f1_threshold": found.best_threshold,
        "threshold_at_99_precision": found.threshold,
        "recall_at_99_precision": found.recall,
        "recall_by_kind": found.recall_by_kind,
        "seed": task.options.seed,
    }


def _paper(extractor: Extractor, backbone: nn.Module, task: Task, guesses: dict[str, Guesses]) -> dict[str, Any]:
    options = task.options
    with bar(f"linear evaluation, {extractor.name}", options.epochs) as shown:

        def on_epoch(loss: float) -> None:
            shown.note(f"loss {loss:.4f}")
            shown.advance()

        scores, trained = paper_scores(
            backbone,
            extractor.side,
            (task.train.files, task.train.labels),
            task.test.files,
            len(task.classes),
            epochs=options.epochs,
            seed=options.seed,
            workers=task.workers,
            device="cuda" if torch.cuda.is_available() else "cpu",
            reading=extractor.reading,
            on_epoch=on_epoch,
        )
    if trained.losses[-1] > BARELY * trained.losses[0]:
        cli.remark(
            f"remark: linear evaluation of {extractor.name}: the loss went only from {trained.losses[0]:.3f} to "
            f"{trained.losses[-1]:.3f}; LARS needs more images or more --epochs; use the column 'linear' instead"
        )
    settings = {"epochs": options.epochs, "batch": trained.batch, "lr": trained.lr, "seed": options.seed}
    guesses["linear-paper"] = _guesses(scores.softmax(dim=1))
    return {**top_1_and_5(scores, task.test.labels), **settings, "loss": trained.losses[-1]}
