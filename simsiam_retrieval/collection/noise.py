"""How alike any two images of a collection are: what a score must exceed to say something."""

import numpy as np
from numpy.typing import NDArray

SAMPLE = 2_000  # images; all their pairs are two million
QUANTILE = 0.999  # one random pair in a thousand is more alike
FEWEST = 46  # images whose pairs number a thousand: below, that quantile says nothing


def sample(ids: NDArray[np.int64], count: int = SAMPLE) -> NDArray[np.int64]:
    """``count`` of the ``ids`` (n,), or all if there are fewer, drawn at random; ascending."""
    return np.sort(np.random.default_rng(0).permutation(ids)[:count])


def noise_level(vectors: NDArray[np.float32]) -> float | None:
    """The cosine that one random pair of images in a thousand exceeds, from unit ``vectors`` (m, dim) of a sample.

    Truly similar pairs are among the random ones: in a collection of one subject the level is high, and rightly so.
    None for fewer than 46 images, whose pairs are too few to tell.
    """
    count = len(vectors)
    if count < FEWEST:
        return None
    cosines = vectors @ vectors.T
    pairs = cosines[np.triu_indices(count, 1)]
    return float(np.clip(np.quantile(pairs, QUANTILE), -1, 1))
