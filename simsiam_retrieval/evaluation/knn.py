"""Weighted k-nearest-neighbour classification over frozen features."""

import torch
from torch import Tensor

ROWS = 1024  # queries a block: the similarity matrix of a block stays small


def knn_scores(
    train: Tensor, train_labels: Tensor, test: Tensor, classes: int, *, k: int = 20, temperature: float = 0.1
) -> Tensor:
    """Class scores of the weighted kNN classifier of Wu et al. 2018 (section 3.4), as used for SimSiam's monitor.

    Each of the ``k`` nearest training images (all of them where there are fewer) votes for its class with weight
    exp(cosine / temperature). ``train`` (n, d) and ``test`` (m, d) have unit rows. Returns float32 (m, classes).
    """
    k = min(k, len(train))
    scores = torch.zeros(len(test), classes)
    for start in range(0, len(test), ROWS):
        similarity, index = (test[start : start + ROWS] @ train.T).topk(k, dim=1)
        # minus the largest: the same ranking without overflow at low temperatures
        weight = ((similarity - similarity[:, :1]) / temperature).exp()
        scores[start : start + ROWS].scatter_add_(1, train_labels[index], weight)
    return scores
