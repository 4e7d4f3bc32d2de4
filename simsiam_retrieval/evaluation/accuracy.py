"""Top-k accuracy."""

import torch
from torch import Tensor


def top_k(scores: Tensor, labels: Tensor, k: int) -> float:
    """Part of rows whose label is among the ``k`` highest scores.

    ``scores``: (n, classes); ``labels``: int64 (n,). Returns a value in [0, 1].
    """
    best = scores.topk(min(k, scores.shape[1]), dim=1).indices
    return float((best == labels[:, None]).any(dim=1).float().mean())


def top_1_and_5(scores: Tensor, labels: Tensor) -> dict[str, float]:
    """Top-1, and top-5 where there are more than five classes (else it says nothing)."""
    result = {"top1": top_k(scores, labels, 1)}
    if scores.shape[1] > 5:
        result["top5"] = top_k(scores, labels, 5)
    assert not torch.isnan(scores).any()
    return result
