"""Weighted k-nearest-neighbour classification over frozen features."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

SIMILARITIES = 1 << 24  # at once: 64 MB of float32, however many images there are


def knn_scores(
    train: Tensor, train_labels: Tensor, test: Tensor, classes: int, *, k: int = 200, temperature: float = 0.1
) -> Tensor:
    """Class scores of the weighted kNN classifier of Wu et al. 2018 (section 3.4), as used for SimSiam's monitor.

    Each of the ``k`` nearest training images (all of them where there are fewer) votes for its class with weight
    exp(cosine / temperature). ``train`` (n, d) and ``test`` (m, d) have unit rows. Returns float32 (m, classes).
    """
    similarity, index = nearest(train, test, k)
    return vote(similarity, train_labels[index], classes, temperature)


def nearest(train: Tensor, test: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Cosines and positions of the ``k`` nearest rows of ``train`` for each row of ``test``, nearest first.

    Works on blocks of queries: the whole (m, n) matrix is never in memory. Returns float32 and int64 (m, min(k, n)).
    """
    k = min(k, len(train))
    found = [(test[start:stop] @ train.T).topk(k, dim=1) for start, stop in blocks(len(test), len(train))]
    if not found:
        return torch.zeros(0, k), torch.zeros(0, k, dtype=torch.int64)
    return torch.cat([block.values for block in found]), torch.cat([block.indices for block in found])


def vote(similarity: Tensor, labels: Tensor, classes: int, temperature: float) -> Tensor:
    """Class scores from the neighbours' cosines and labels, both (m, k), nearest first."""
    # minus the largest: the same ranking without overflow at low temperatures
    weight = ((similarity - similarity[:, :1]) / temperature).exp()
    return torch.zeros(len(similarity), classes).scatter_add_(1, labels, weight)


def sweep(
    similarity: Tensor, labels: Tensor, truth: Tensor, classes: int, ks: Sequence[int], temperatures: Sequence[float]
) -> list[dict[str, float]]:
    """Top-1 for each pair of k and temperature, from one search with the largest k."""
    rows = []
    for k in ks:
        for temperature in temperatures:
            scores = vote(similarity[:, :k], labels[:, :k], classes, temperature)
            top1 = float((scores.argmax(dim=1) == truth).float().mean())
            rows.append({"k": k, "temperature": temperature, "top1": top1})
    return rows


def blocks(rows: int, columns: int) -> Iterator[tuple[int, int]]:
    """Start and stop of blocks of rows whose (block, columns) matrix stays within ``SIMILARITIES`` numbers."""
    size = max(1, SIMILARITIES // max(1, columns))
    for start in range(0, rows, size):
        yield start, min(start + size, rows)
