"""Retrieval metrics on labelled images: whether the nearest images have the query's class."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .knn import blocks

KS = (1, 5, 10)


@dataclass(frozen=True)
class Retrieval:
    """Quality of a ranking by cosine similarity, averaged over queries.

    Attributes:
        recall: k -> fraction of queries with an image of their class among the k nearest.
        map_at_r: Mean average precision at R, in [0, 1].
        queries: Number of queries.
        left_out: Number of images that are no queries because their class has no other image.
    """

    recall: dict[int, float]
    map_at_r: float
    queries: int
    left_out: int


def retrieve(features: Tensor, labels: Tensor, *, own: bool = False, ks: Sequence[int] = KS) -> Retrieval:
    """Search each image among all images by cosine similarity, and compute recall@k and mAP@R.

    recall@k is 1 for a query if at least one of the k nearest images has the query's class. This is the definition of
    metric learning (Jegou et al. 2011), not the fraction of the class that is found. mAP@R (Musgrave et al. 2020,
    section 3.2) is 1/R * sum over ranks i <= R of (precision at i) where rank i has the query's class, else 0. R is the
    number of other images of the class.

    Images with equal cosines are sorted in the order that is worst for the query. Features that are all the same
    therefore score nothing.

    Args:
        features: float32 (n, d), unit rows.
        labels: int64 (n,).
        own: Keep the query's own image among the images that are searched, as some publications do. It is then usually
            the first result, so recall@1 has no meaning. By default it is removed, and images without another image of
            their class are no queries.
        ks: Values of k for recall@k.

    Returns:
        The averages over all queries.

    Raises:
        ValueError: No query is left.
    """
    n = len(features)
    count = torch.bincount(labels)[labels] - (0 if own else 1)  # R for each query
    usable = count > 0
    if not usable.any():
        raise ValueError("no class has two images")
    largest = min(n - (0 if own else 1), max(int(count.max()), *ks))
    hits_at = dict.fromkeys(ks, 0)
    precision = 0.0
    for start, stop in blocks(n, n):
        similarity = features[start:stop] @ features.T
        rows = torch.arange(start, stop)
        same = labels[start:stop, None] == labels
        # a change below float32 precision puts ties in the worst order
        similarity = similarity.double() - 1e-7 * same
        if not own:
            similarity[rows - start, rows] = -torch.inf
        nearest = similarity.topk(largest, dim=1).indices
        right = same.gather(1, nearest)[usable[start:stop]]
        total = count[start:stop][usable[start:stop]]
        for k in ks:
            hits_at[k] += int(right[:, :k].any(dim=1).sum())
        rank = torch.arange(1, largest + 1)
        right = right & (rank <= total[:, None])
        precision += float(((right.double().cumsum(dim=1) / rank) * right).sum(dim=1).div(total).sum())
    queries = int(usable.sum())
    recall = {k: hits / queries for k, hits in hits_at.items()}
    return Retrieval(recall, precision / queries, queries, n - queries)
