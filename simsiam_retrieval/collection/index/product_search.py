"""Exact search for one query by one product with all vectors, or with those that a filter leaves."""

import numpy as np
from numpy.typing import NDArray

from .first_pass import exact_scores

ROUNDING = 1e-6  # scores of equal vectors differ by less
EQUALISED = 20_000  # candidates that are compared again, at most
BLOCK = 8192  # vectors that are copied at a time


def by_product(
    stored: NDArray[np.float32], rows: NDArray[np.int64] | None, query: NDArray[np.float32], k: int
) -> tuple[NDArray[np.float32] | NDArray[np.float64], NDArray[np.int64]]:
    """Find the k best.

    Args:
        stored: float32 (n, dim).
        rows: The vectors to search, int64 (m,), ascending; None for all.
        query: float32 (dim,).
        k: Number of results, at most the number of vectors to search.

    Returns:
        Inner products (k,) and rows, int64 (k,): best first, those of equal vectors by row. Fewer if a vector is not
        finite.
    """
    if rows is None:
        scores = stored @ query
    else:
        blocks = (rows[at : at + BLOCK] for at in range(0, len(rows), BLOCK))
        scores = np.concatenate([stored[block] @ query for block in blocks])
    least = np.partition(scores, len(scores) - k)[len(scores) - k]
    near = np.flatnonzero(scores >= least - ROUNDING)
    scores = scores[near]
    near = near if rows is None else rows[near]
    if len(near) <= EQUALISED:  # BLAS rounds differently by position, so copies differ in the last bit
        scores = exact_scores(stored, near, query)
    best = np.argsort(-scores, kind="stable")[:k]
    return scores[best], near[best]
