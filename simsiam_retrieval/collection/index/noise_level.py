"""How alike unrelated images of a collection are: what a score must exceed to say something."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAMPLE = 2_000  # images; all their pairs are two million
QUANTILE = 0.999  # one random pair in a thousand is more alike
FEWEST = 46  # images whose pairs number a thousand: below, that quantile says nothing
OWN = 0.95  # the quantile of an image's own cosines that says whether it is like everything, as white backgrounds are
SHARE = 0.5  # of that quantile which the level follows; measured by benchmarks/noise_level.py
COPY = 1 - 1e-4  # cosine of the same picture, for an encoder whose near-duplicates nobody calibrated


def sample(ids: NDArray[np.int64], count: int = SAMPLE) -> NDArray[np.int64]:
    """``count`` of the ``ids`` (n,), or all if there are fewer, drawn at random; ascending."""
    return np.sort(np.random.default_rng(0).permutation(ids)[:count])


@dataclass(frozen=True)
class Noise:
    """The noise level of one state of a collection, for each query its own.

    A query's level is ``base`` plus half the cosine that one image in twenty of the sample exceeds with it. ``base`` is
    such that one random pair of images in a thousand exceeds the level of its first one. Near-duplicates, pairs with a
    cosine of ``alike`` or more, count nowhere: copies and bursts say nothing about unrelated images.
    """

    base: float
    typical: float  # the median level of the sample's own images
    alike: float  # cosine of near-duplicates; a score that reaches it is never noise

    def levels(self, queries: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """The level (n,) of each of the unit ``queries`` (n, dim), from the sample's ``vectors`` (m, dim)."""
        own = _own(queries @ vectors.T, self.alike)
        levels = np.where(np.isnan(own), self.typical, self.base + SHARE * own)
        return np.minimum(levels, self.alike).astype(np.float32)


def measure_noise(vectors: NDArray[np.float32], alike: float = COPY) -> Noise | None:
    """Measure the noise level from the unit ``vectors`` (m, dim) of a sample; near-duplicates reach ``alike``.

    Returns None where fewer than 46 images, or fewer than a thousand pairs of them that are not near-duplicates, are
    too few to tell.
    """
    count = len(vectors)
    if count < FEWEST:
        return None
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, 1)
    own = _own(cosines, alike)
    stands_out = cosines - SHARE * own[:, None]
    stands_out = stands_out[(cosines < alike) & ~np.isnan(own)[:, None]]
    if len(stands_out) < FEWEST * (FEWEST - 1):  # each pair is there twice
        return None
    base = float(np.quantile(stands_out, QUANTILE))
    return Noise(base, min(base + SHARE * float(np.nanmedian(own)), alike), alike)


def _own(cosines: NDArray[np.float32], alike: float) -> NDArray[np.float32]:
    """The quantile ``OWN`` of each row (n, m) among its cosines below ``alike``; NaN where fewer than 20 are."""
    own = np.full(len(cosines), np.nan, np.float32)
    for row, values in enumerate(cosines):
        far = values[values < alike]
        if len(far) >= 1 / (1 - OWN):
            own[row] = np.quantile(far, OWN)
    return own
