"""Top-k accuracy, with its confidence interval, and what it is worth where classes differ in size."""

from typing import Any

import torch
from torch import Tensor

from .intervals import wilson


def top_k(scores: Tensor, labels: Tensor, k: int) -> float:
    """Compute the fraction of rows whose label is among the ``k`` highest scores.

    Args:
        scores: Float (n, classes).
        labels: int64 (n,).
        k: Number of scores.

    Returns:
        A value in [0, 1].
    """
    best = scores.topk(min(k, scores.shape[1]), dim=1).indices
    return float((best == labels[:, None]).any(dim=1).double().mean())


def balanced(scores: Tensor, labels: Tensor) -> float:
    """Compute balanced accuracy: the mean over classes of their top-1 accuracy (macro recall).

    Args:
        scores: Float (n, classes).
        labels: int64 (n,). Classes without a row do not count.

    Returns:
        A value in [0, 1].
    """
    hits = (scores.argmax(dim=1) == labels).double()
    counts = labels.bincount(minlength=scores.shape[1])
    found = labels.bincount(hits, minlength=scores.shape[1])
    there = counts > 0
    return float((found[there] / counts[there]).mean())


def top_1_and_5(scores: Tensor, labels: Tensor) -> dict[str, Any]:
    """Compute top-1 accuracy with its 95 % Wilson interval, and top-5 accuracy.

    Args:
        scores: Float (n, classes).
        labels: int64 (n,).

    Returns:
        "top1", "top1_interval", "balanced" (:func:`balanced`), "majority" (the commonest class: the accuracy of
        always naming it) and, for more than five classes, "top5". With five or fewer top-5 is always 1.

    Raises:
        FloatingPointError: A score is NaN.
    """
    if torch.isnan(scores).any():
        raise FloatingPointError("some scores are NaN")
    top1 = top_k(scores, labels, 1)
    result: dict[str, Any] = {"top1": top1, "top1_interval": list(wilson(top1 * len(labels), len(labels)))}
    result["balanced"] = balanced(scores, labels)
    result["majority"] = float(labels.bincount().max() / len(labels))
    if scores.shape[1] > 5:
        result["top5"] = top_k(scores, labels, 5)
    return result
