"""Top-k accuracy, with its confidence interval."""

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


def top_1_and_5(scores: Tensor, labels: Tensor) -> dict[str, Any]:
    """Top-1 with its 95 % Wilson interval, and top-5 where there are more than five classes (else it says nothing).

    Raises ``FloatingPointError`` for scores that are not numbers.
    """
    if torch.isnan(scores).any():
        raise FloatingPointError("scores that are not numbers")
    top1 = top_k(scores, labels, 1)
    result: dict[str, Any] = {"top1": top1, "top1_interval": list(wilson(top1 * len(labels), len(labels)))}
    if scores.shape[1] > 5:
        result["top5"] = top_k(scores, labels, 5)
    return result
