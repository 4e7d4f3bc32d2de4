"""Top-k accuracy, with its confidence interval, and what it is worth where classes differ in size."""

from typing import Any

import torch
from torch import Tensor

from .intervals import wilson


def top_k(scores: Tensor, labels: Tensor, k: int) -> float:
    """Part of rows whose label is among the ``k`` highest scores.

    ``scores``: (n, classes); ``labels``: int64 (n,). Returns a value in [0, 1].
    """
    best = scores.topk(min(k, scores.shape[1]), dim=1).indices
    return float((best == labels[:, None]).any(dim=1).double().mean())


def balanced(scores: Tensor, labels: Tensor) -> float:
    """Mean over classes of the part of their rows whose highest score is their own (macro recall).

    ``scores``: (n, classes); ``labels``: int64 (n,). Classes without a row do not count. Returns a value in [0, 1].
    """
    hits = (scores.argmax(dim=1) == labels).double()
    counts = labels.bincount(minlength=scores.shape[1])
    found = labels.bincount(hits, minlength=scores.shape[1])
    there = counts > 0
    return float((found[there] / counts[there]).mean())


def top_1_and_5(scores: Tensor, labels: Tensor) -> dict[str, Any]:
    """Top-1 with its 95 % Wilson interval, and top-5 where there are more than five classes (else it says nothing).

    Beside it the balanced accuracy (:func:`balanced`) and the share of the commonest class, which always naming that
    class reaches.

    Raises ``FloatingPointError`` for scores that are not numbers.
    """
    if torch.isnan(scores).any():
        raise FloatingPointError("scores that are not numbers")
    top1 = top_k(scores, labels, 1)
    result: dict[str, Any] = {"top1": top1, "top1_interval": list(wilson(top1 * len(labels), len(labels)))}
    result["balanced"] = balanced(scores, labels)
    result["majority"] = float(labels.bincount().max() / len(labels))
    if scores.shape[1] > 5:
        result["top5"] = top_k(scores, labels, 5)
    return result
