"""Accuracy with few labels: some images per class, drawn again and again."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

import torch
from torch import Tensor

from ..metrics.accuracy import top_k
from ..metrics.intervals import mean_interval
from .linear_probe import Scale
from .logistic_regression import solve

DRAWS = 10


@dataclass(frozen=True)
class FewShot:
    """Top-1 over draws of ``shots`` training images per class."""

    shots: int
    top1: float  # mean over draws, in [0, 1]
    interval: tuple[float, float]  # 95 %, Student's t over the draws
    draws: list[float]


def few_shot(
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    classes: int,
    shots: Sequence[int],
    scale: Scale,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[FewShot]:
    """Logistic regression on ``shots`` images per class, measured on all test images, for each number in ``shots``.

    ``train`` (n, d), ``test`` (m, d): features, scaled here with ``scale`` (``common_scale``: the moments of all
    training images, no labels go into those) and divided by sqrt(d), so that rows are about 1 long whatever d is.
    Nothing can be held out of one image per class, so the penalty is fixed: sum of cross-entropies + 1/2 ||weight||^2,
    scikit-learn's C = 1, as Tian et al. 2020 take it for few-shot classification. Draw i takes its images with seed
    ``seed + i``, the same ones for every extractor. The interval speaks of the draws.

    Raises ``ValueError`` where a class has fewer images than a number of shots.
    """
    count = torch.bincount(train_labels, minlength=classes)
    if max(shots) > int(count.min()):
        raise ValueError(f"{max(shots)} shots of a class with {int(count.min())} images")
    length = train.shape[1] ** 0.5
    queries = scale(test) / length
    results = []
    for number in shots:
        accuracy = []
        for draw in range(draws):
            rows = draw_rows(train_labels, number, seed + draw)
            scores = solve(scale(train[rows]) / length, train_labels[rows], classes, 1 / len(rows)).scores(queries)
            accuracy.append(top_k(scores, test_labels, 1))
        results.append(FewShot(number, mean(accuracy), mean_interval(accuracy), accuracy))
    return results


def draw_rows(labels: Tensor, shots: int, seed: int) -> Tensor:
    """Positions of ``shots`` random images of each class, without repetition."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator)
    return torch.cat([order[labels[order] == label][:shots] for label in labels.unique().tolist()])
