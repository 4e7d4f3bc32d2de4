"""The quick linear probe: many linear classifiers with different settings, trained at once on frozen features."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..metrics.knn import blocks

LEARNING_RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
WEIGHT_DECAYS = (0.0, 1e-2, 1e-1)
STEPS = 500
BATCH = 1024
MOMENTUM = 0.9


@dataclass(frozen=True)
class Scale:
    """Standardisation with the moments of the training features.

    Attributes:
        mean: float32 (d,).
        std: float32 (d,); 1 for a feature that does not vary.
    """

    mean: Tensor
    std: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """Standardise features.

        Args:
            features: float32 (n, d).

        Returns:
            float32 (n, d).
        """
        return (features - self.mean) / self.std


def fit_scale(features: Tensor) -> Scale:
    """Compute mean and standard deviation (over n) of each feature, in float64.

    Args:
        features: float32 (n, d).

    Returns:
        The scaling.
    """
    mean, variance = _moments(features)
    std = variance.sqrt()
    std = torch.where(std > 1e-6 * std.max().clamp(min=1e-12), std, 1.0)
    return Scale(mean.float(), std.float())


def common_scale(features: Tensor) -> Scale:
    """Compute the mean of each feature, and one deviation for all: the root of the mean variance.

    Unlike in ``fit_scale``, directions with little variance stay small. With few labels they are mostly noise.

    Args:
        features: float32 (n, d).

    Returns:
        The scaling.
    """
    mean, variance = _moments(features)
    return Scale(mean.float(), torch.full_like(mean, float(variance.mean().sqrt()) or 1.0).float())


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (over n) of each feature, float64 (d,)."""
    mean, square = torch.zeros(features.shape[1]).double(), torch.zeros(features.shape[1]).double()
    for part in features.split(8192):
        mean += part.double().sum(dim=0) / len(features)
    for part in features.split(8192):
        square += (part.double() - mean).square().sum(dim=0) / len(features)
    return mean, square


@dataclass(frozen=True)
class Heads:
    """Several linear classifiers: scores = scale(x) @ weight + bias.

    Attributes:
        weight: float32 (d, heads, classes).
        bias: float32 (heads, classes).
        scale: The scaling of the features.
        settings: Learning rate and weight decay of each head.
    """

    weight: Tensor
    bias: Tensor
    scale: Scale
    settings: list[tuple[float, float]]

    def scores(self, features: Tensor) -> Tensor:
        """Compute class scores.

        Args:
            features: float32 (n, d).

        Returns:
            float32 (n, heads, classes).
        """
        return (self.scale(features) @ self.weight.flatten(1)).unflatten(1, self.bias.shape) + self.bias

    def hits(self, features: Tensor, labels: Tensor) -> Tensor:
        """Count the rows that each head classifies correctly. A head that diverged gets 0.

        Args:
            features: float32 (n, d).
            labels: int64 (n,).

        Returns:
            int64 (heads,).
        """
        total = torch.zeros(len(self.bias), dtype=torch.int64)
        for start, stop in blocks(len(features), max(features.shape[1], self.bias.numel())):
            best = self.scores(features[start:stop]).argmax(dim=2)
            total += (best == labels[start:stop, None]).sum(dim=0)
        finite = self.weight.isfinite().all(dim=2).all(dim=0) & self.bias.isfinite().all(dim=1)
        return torch.where(finite, total, 0)


def train_heads(
    features: Tensor,
    labels: Tensor,
    rows: Tensor,
    classes: int,
    settings: Sequence[tuple[float, float]],
    *,
    steps: int = STEPS,
    batch: int = BATCH,
    seed: int = 0,
) -> Heads:
    """Train one head for each pair of learning rate and weight decay.

    All heads see the same batches, so each step is two matrix products for all of them. SGD with momentum on mean
    cross-entropy + decay / 2 * ||weight||^2 (no decay of the bias), cosine schedule to 0, zero initialisation,
    standardised features. Deterministic for a given seed.

    Args:
        features: float32 (n, d).
        labels: int64 (n,).
        rows: int64: the rows to train on.
        classes: Number of classes.
        settings: Pairs (learning rate, weight decay).
        steps: SGD steps.
        batch: Rows per step.
        seed: Seed of the order of the rows.

    Returns:
        The heads.
    """
    scale = fit_scale(features[rows])
    heads, dim = len(settings), features.shape[1]
    lr = torch.tensor([lr for lr, _ in settings])[:, None].expand(heads, classes).flatten()
    decay = torch.tensor([decay for _, decay in settings])[:, None].expand(heads, classes).flatten()
    weight, bias = torch.zeros(dim, heads * classes), torch.zeros(heads * classes)
    weight_velocity, bias_velocity = torch.zeros_like(weight), torch.zeros_like(bias)
    generator = torch.Generator().manual_seed(seed)
    batch = min(batch, len(rows))
    order, position = torch.empty(0, dtype=torch.int64), 0
    for step in range(steps):
        if position + batch > len(order):
            order, position = rows[torch.randperm(len(rows), generator=generator)], 0
        picked = order[position : position + batch]
        position += batch
        x = scale(features[picked])
        residual = (x @ weight).add_(bias).unflatten(1, (heads, classes)).softmax(dim=2)
        # gradient of the cross-entropy with respect to the scores: probability minus one-hot label
        residual[torch.arange(batch), :, labels[picked]] -= 1
        residual = residual.flatten(1).div_(batch)
        weight_velocity.mul_(MOMENTUM).add_(torch.addcmul(x.T @ residual, weight, decay))
        bias_velocity.mul_(MOMENTUM).add_(residual.sum(dim=0))
        now = lr * (0.5 * (1 + math.cos(math.pi * step / steps)))
        weight.addcmul_(weight_velocity, now, value=-1)
        bias.addcmul_(bias_velocity, now, value=-1)
    shape = (heads, classes)
    return Heads(weight.unflatten(1, shape), bias.unflatten(0, shape), scale, list(settings))


@dataclass(frozen=True)
class LinearProbe:
    """The chosen linear classifier.

    Attributes:
        heads: A single head.
        lr: Its learning rate.
        weight_decay: Its weight decay.
        held_out: Accuracy of each setting on the held-out training images.
    """

    heads: Heads
    lr: float
    weight_decay: float
    held_out: dict[tuple[float, float], float]

    def scores(self, features: Tensor) -> Tensor:
        """Compute class scores.

        Args:
            features: float32 (n, d).

        Returns:
            float32 (n, classes).
        """
        return torch.cat([self.heads.scores(part)[:, 0] for part in features.split(8192)])


def fit(features: Tensor, labels: Tensor, classes: int, *, seed: int = 0, steps: int = STEPS) -> LinearProbe:
    """Fit a linear classifier as in DINOv2's linear evaluation (Oquab et al. 2023, section 7.1).

    A grid of settings is trained at once. A fifth of each class's training images is held out (``split``). The setting
    with the most hits on them is trained again on all training images. Test images have no influence. If nothing can be
    held out, because each class has one image, the middle of the grid is used.

    Args:
        features: float32 (n, d).
        labels: int64 (n,).
        classes: Number of classes.
        seed: Seed of the split and of the order of the rows.
        steps: SGD steps.

    Returns:
        The classifier.
    """
    settings = [(lr, decay) for lr in LEARNING_RATES for decay in WEIGHT_DECAYS]
    rest, held_out = split(labels, seed)
    accuracy: dict[tuple[float, float], float] = {}
    chosen = (LEARNING_RATES[len(LEARNING_RATES) // 2], WEIGHT_DECAYS[len(WEIGHT_DECAYS) // 2])
    if len(held_out):
        heads = train_heads(features, labels, rest, classes, settings, steps=steps, seed=seed)
        hits = heads.hits(features[held_out], labels[held_out])
        accuracy = {setting: float(hit) / len(held_out) for setting, hit in zip(settings, hits.tolist(), strict=True)}
        # among equals the larger decay and the smaller rate: the simpler classifier
        chosen = max(settings, key=lambda setting: (accuracy[setting], setting[1], -setting[0]))
    everything = torch.arange(len(features))
    final = train_heads(features, labels, everything, classes, [chosen], steps=steps, seed=seed)
    return LinearProbe(final, *chosen, accuracy)


def split(labels: Tensor, seed: int = 0, part: int = 5) -> tuple[Tensor, Tensor]:
    """Split rows into training and held-out rows: one in ``part`` of each class is held out.

    A class with one image gives none; a class with two to ``part`` images gives one.

    Args:
        labels: int64 (n,).
        seed: Seed.
        part: One in so many rows.

    Returns:
        Row numbers to train on, and held-out row numbers, both int64.
    """
    generator = torch.Generator().manual_seed(seed)
    rest, held_out = [], []
    for label in labels.unique().tolist():
        rows = (labels == label).nonzero()[:, 0]
        rows = rows[torch.randperm(len(rows), generator=generator)]
        count = 0 if len(rows) == 1 else max(1, len(rows) // part)
        held_out.append(rows[:count])
        rest.append(rows[count:])
    return torch.cat(rest), torch.cat(held_out)
