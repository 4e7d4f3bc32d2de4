"""Measuring a run's features on labelled images: kNN and a linear classifier, as the protocol says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ..core import cli
from ..core.progress import bar
from ..evaluation.centre_squares import read_squares
from ..evaluation.extractors import normalised
from ..evaluation.labelled import LabelledFiles
from ..evaluation.linear_probe import fit
from ..evaluation.paper_protocol import train_classifier
from ..methods.backbone import build_backbone
from ..metrics.accuracy import top_1_and_5
from ..metrics.knn import knn_scores
from ..training.config import Config
from ..training.pixel_store import fits_in_memory, load_store
from .plan_runs import Data
from .scales import Protocol

TEMPERATURE = 0.1  # temperature of the kNN votes
EMBED = 256  # images per batch
SEED = 0  # seed of the random weights

Chunk = tuple[NDArray[np.uint8], Tensor]  # squares (n, s, s, 3) and their labels, int64 (n,)


class Pictures:
    """The centre squares of labelled files, decoded once for all rows if they fit into memory.

    Args:
        files: The files and their classes.
        classes: Names of the classes.
        workers: Number of worker processes; None chooses it.
    """

    def __init__(self, files: LabelledFiles, classes: list[str], workers: int | None) -> None:
        self._files, self._workers = files, workers
        numbers = {name: number for number, name in enumerate(classes)}
        self._labels = torch.tensor([numbers[name] for name in files.names])
        self._kept: dict[int, list[Chunk]] = {}  # side -> all chunks

    def chunks(self, side: int) -> Iterator[Chunk]:
        """Decode all readable images.

        Args:
            side: Side of the squares in pixels.

        Yields:
            Squares, uint8 (n, side, side, 3), and labels, int64 (n,), in order.
        """
        if side in self._kept:
            yield from self._kept[side]
            return
        keep = fits_in_memory(len(self._files.files), side)
        made: list[Chunk] = []
        with bar(f"decoding at {side} px", len(self._files.files)) as shown:
            for chunk in self._decoded(side):
                if keep:
                    made.append(chunk)
                shown.advance(len(chunk[0]))
                yield chunk
        if keep:
            self._kept = {side: made}

    def _decoded(self, side: int) -> Iterator[Chunk]:
        position, squares, labels, failed = 0, [], [], 0
        for part in read_squares(self._files.files, side, workers=self._workers):
            for square in part:
                if isinstance(square, str):
                    failed += 1
                else:
                    squares.append(square)
                    labels.append(self._labels[position])
                position += 1
            if len(squares) >= EMBED:
                yield np.stack(squares), torch.stack(labels)
                squares, labels = [], []
        if squares:
            yield np.stack(squares), torch.stack(labels)
        if failed:
            cli.remark(f"left out of measuring: {failed} images of {self._files.given} that cannot be read")


class Measure:
    """Measures backbones on the same two folders.

    Args:
        data: The two labelled folders.
        protocol: How to measure.
        device: torch device.
        cache: Folder of the decoded training images, which the paper's protocol crops.
        workers: Number of worker processes; None chooses it.
    """

    def __init__(self, data: Data, protocol: Protocol, device: torch.device, cache: Path, workers: int | None) -> None:
        self.classes = data.train.classes
        self._data, self._protocol, self._device = data, protocol, device
        self._cache, self._workers = cache, workers
        self._train = Pictures(data.train, self.classes, workers)
        self._test = Pictures(data.test, self.classes, workers)

    def __call__(self, backbone: nn.Module, config: Config) -> dict[str, dict[str, Any]]:
        """Measure one backbone.

        Args:
            backbone: The backbone.
            config: Settings of its run.

        Returns:
            Top-1 (and top-5) accuracy on the test images under "knn", and under "linear" or "linear-paper".

        Raises:
            FloatingPointError: The features are not finite.
        """
        backbone = backbone.to(self._device).eval()
        x, labels = self._features(backbone, self._train, config.image_size)
        queries, truth = self._features(backbone, self._test, config.image_size)
        classes = len(self.classes)
        unit, unit_queries = F.normalize(x, dim=1), F.normalize(queries, dim=1)
        del x  # ImageNet's are 10 GB
        k = min(self._protocol.k, len(unit))
        scores = knn_scores(unit, labels, unit_queries, classes, k=k, temperature=TEMPERATURE)
        results = {"knn": {**top_1_and_5(scores, truth), "k": k, "temperature": TEMPERATURE}}
        if self._protocol.linear == "quick":
            linear = fit(unit, labels, classes, seed=config.seed, steps=self._protocol.steps)
            chosen = {"lr": linear.lr, "weight_decay": linear.weight_decay, "steps": self._protocol.steps}
            results["linear"] = {**top_1_and_5(linear.scores(unit_queries), truth), **chosen}
        elif self._protocol.linear == "paper":
            results["linear-paper"] = self._paper(backbone, config, queries, truth)
        return results

    @torch.no_grad()
    def _features(self, backbone: nn.Module, pictures: Pictures, side: int) -> tuple[Tensor, Tensor]:
        rows, labels = [], []
        for squares, truth in pictures.chunks(side):
            rows.append(backbone(normalised(squares, backbone).to(self._device)).float().cpu())
            labels.append(truth)
        features = torch.cat(rows)
        if not features.isfinite().all():
            raise FloatingPointError("features that are not numbers")
        return features, torch.cat(labels)

    def _paper(self, backbone: nn.Module, config: Config, queries: Tensor, truth: Tensor) -> dict[str, Any]:
        names = dict(zip((file.path for file in self._data.train.files), self._data.train.names, strict=True))
        store = load_store(self._data.train.files, config.store_side, cache=self._cache, workers=self._workers)
        labels = torch.tensor([self.classes.index(names[file.path]) for file in store.files])
        with bar("linear evaluation", self._protocol.epochs) as shown:
            trained = train_classifier(
                backbone,
                config.image_size,
                store,
                labels,
                len(self.classes),
                epochs=self._protocol.epochs,
                seed=config.seed,
                device=str(self._device),
                on_epoch=lambda loss: shown.advance(),
            )
        with torch.no_grad():
            scores = trained.classifier(queries)
        chosen = {"lr": trained.lr, "batch": trained.batch, "epochs": self._protocol.epochs}
        return {**top_1_and_5(scores, truth), **chosen}


def random_backbone(config: Config) -> nn.Module:
    """Build the backbone of a run with random weights: the baseline of every row.

    Args:
        config: Settings of the run.

    Returns:
        The backbone.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return build_backbone(config.backbone, config.stem, config.normalisation)
