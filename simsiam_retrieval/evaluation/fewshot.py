"""Few-shot accuracy: a classifier trained on a few images per class, repeated with random draws."""

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
    """Top-1 accuracy over draws of ``shots`` training images per class.

    Attributes:
        shots: Images per class.
        top1: Mean over the draws, in [0, 1].
        interval: 95 % interval, Student's t over the draws.
        draws: Top-1 of each draw.
    """

    shots: int
    top1: float
    interval: tuple[float, float]
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
    """Train logistic regression on ``shots`` images per class and measure it on all test images.

    Features are scaled with ``scale`` and divided by sqrt(d), so that rows have a length of about 1 for any d. The
    penalty is fixed, because nothing can be held out of one image per class: sum of cross-entropies + 1/2 ||weight||^2.
    This is scikit-learn's C = 1, as Tian et al. 2020 use it for few-shot classification. The interval covers the draws
    only.

    Args:
        train: Training features, float32 (n, d).
        train_labels: int64 (n,).
        test: Test features, float32 (m, d).
        test_labels: int64 (m,).
        classes: Number of classes.
        shots: Numbers of images per class.
        scale: From ``common_scale``, which uses all training images and no labels.
        draws: Number of draws.
        seed: Draw i uses seed ``seed + i``, so it is the same for every extractor.

    Returns:
        One result per number of shots.

    Raises:
        ValueError: A class has fewer images than a number of shots.
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
    """Draw random images of each class, without repetition.

    Args:
        labels: int64 (n,).
        shots: Images per class.
        seed: Seed.

    Returns:
        Row numbers, int64.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator)
    return torch.cat([order[labels[order] == label][:shots] for label in labels.unique().tolist()])
