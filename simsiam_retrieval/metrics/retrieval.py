"""Retrieval on labelled images: are the nearest images of the query's class?"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .knn import blocks

KS = (1, 5, 10)


@dataclass(frozen=True)
class Retrieval:
    """Quality of a ranking by cosine, averaged over queries."""

    recall: dict[int, float]  # k -> part of queries with an image of their class among the k nearest
    map_at_r: float
    queries: int
    left_out: int  # queries without another image of their class


def retrieve(features: Tensor, labels: Tensor, *, own: bool = False, ks: Sequence[int] = KS) -> Retrieval:
    """Search each of the images (n, d), unit rows, among all of them, by cosine.

    recall@k: 1 where at least one of the k nearest has the query's class (as in metric learning, Jegou et al. 2011,
    not the part of the class that is found). mAP@R (Musgrave et al. 2020, section 3.2): with R images of the query's
    class to be found, 1/R * sum over ranks i <= R of (precision at i) where rank i is of the class, else 0.

    ``own``: leave the query's own file among the images searched. It then comes first as a rule, so that recall@1 says
    nothing; some publications count like this. Without it, queries that have no other image of their class are left
    out. Equal cosines are put in the order that is worst for the query, so features that are all the same earn nothing.

    Raises ``ValueError`` where no query is left.
    """
    n = len(features)
    count = torch.bincount(labels)[labels] - (0 if own else 1)  # R of each query
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
        # a nudge of less than float32 tells apart puts ties in the worst order
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
