"""Weighted k-nearest-neighbour classification over frozen features."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

SIMILARITIES = 1 << 24  # numbers in one block of a similarity matrix: 64 MB of float32, for any number of images


def knn_scores(
    train: Tensor, train_labels: Tensor, test: Tensor, classes: int, *, k: int = 200, temperature: float = 0.1
) -> Tensor:
    """Compute the class scores of the weighted kNN classifier of Wu et al. 2018 (section 3.4).

    Each of the ``k`` nearest training images votes for its class with weight exp(cosine / temperature). SimSiam's
    monitor uses this classifier.

    Args:
        train: Training features, float32 (n, d), unit rows.
        train_labels: int64 (n,).
        test: Test features, float32 (m, d), unit rows.
        classes: Number of classes.
        k: Number of neighbours; all if there are fewer training images.
        temperature: Temperature of the weights.

    Returns:
        float32 (m, classes).
    """
    similarity, index = nearest(train, test, k)
    return vote(similarity, train_labels[index], classes, temperature)


def nearest(train: Tensor, test: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Find the ``k`` nearest rows of ``train`` for each row of ``test``, by cosine.

    Works on blocks of queries, so the whole (m, n) matrix is never in memory.

    Args:
        train: float32 (n, d), unit rows.
        test: float32 (m, d), unit rows.
        k: Number of neighbours.

    Returns:
        Cosines, float32, and row numbers in ``train``, int64; both (m, min(k, n)), nearest first.
    """
    k = min(k, len(train))
    found = [(test[start:stop] @ train.T).topk(k, dim=1) for start, stop in blocks(len(test), len(train))]
    if not found:
        return torch.zeros(0, k), torch.zeros(0, k, dtype=torch.int64)
    return torch.cat([block.values for block in found]), torch.cat([block.indices for block in found])


def vote(similarity: Tensor, labels: Tensor, classes: int, temperature: float) -> Tensor:
    """Compute class scores from the cosines and labels of the neighbours.

    Args:
        similarity: Cosines, float32 (m, k), nearest first.
        labels: int64 (m, k).
        classes: Number of classes.
        temperature: Temperature of the weights.

    Returns:
        float32 (m, classes).
    """
    # subtracting the largest cosine keeps the ranking and prevents overflow at low temperatures
    weight = ((similarity - similarity[:, :1]) / temperature).exp()
    return torch.zeros(len(similarity), classes).scatter_add_(1, labels, weight)


def sweep(
    similarity: Tensor, labels: Tensor, truth: Tensor, classes: int, ks: Sequence[int], temperatures: Sequence[float]
) -> list[dict[str, float]]:
    """Compute top-1 accuracy for each pair of k and temperature, from one search with the largest k.

    Args:
        similarity: Cosines, float32 (m, largest k), nearest first.
        labels: The neighbours' labels, int64 (m, largest k).
        truth: The queries' labels, int64 (m,).
        classes: Number of classes.
        ks: Numbers of neighbours.
        temperatures: Temperatures of the weights.

    Returns:
        One dict per pair, with "k", "temperature" and "top1".
    """
    rows = []
    for k in ks:
        for temperature in temperatures:
            scores = vote(similarity[:, :k], labels[:, :k], classes, temperature)
            top1 = float((scores.argmax(dim=1) == truth).float().mean())
            rows.append({"k": k, "temperature": temperature, "top1": top1})
    return rows


def blocks(rows: int, columns: int) -> Iterator[tuple[int, int]]:
    """Divide rows into blocks, so that each (block, columns) matrix has at most ``SIMILARITIES`` numbers.

    Args:
        rows: Number of rows.
        columns: Number of columns.

    Yields:
        Start and stop of each block.
    """
    size = max(1, SIMILARITIES // max(1, columns))
    for start in range(0, rows, size):
        yield start, min(start + size, rows)
