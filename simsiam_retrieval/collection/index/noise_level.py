"""The noise level: how similar unrelated images of a collection are. A higher score carries information."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAMPLE = 2_000  # images in the sample; they have two million pairs
QUANTILE = 0.999  # one random pair in a thousand has a higher cosine
FEWEST = 46  # images with a thousand pairs; with fewer, the quantile has no meaning
FEW = 500  # images; with fewer, copies that fall short of ``alike`` can be a thousandth of all pairs
TAIL = (0.95, 0.985)  # quantiles that the tail is continued from then; benchmarks/noise_small.py
OWN = 0.95  # quantile of an image's own cosines; high if it is similar to everything (a white background)
SHARE = 0.5  # weight of that quantile in the level; measured by benchmarks/noise_level.py
COPY = 1 - 1e-4  # cosine of copies, for an encoder whose near-duplicates are not calibrated


def sample(ids: NDArray[np.int64], count: int = SAMPLE) -> NDArray[np.int64]:
    """Draw a random sample of ids.

    Args:
        ids: int64 (n,).
        count: Size of the sample.

    Returns:
        int64 (min(n, count),), ascending.
    """
    return np.sort(np.random.default_rng(0).permutation(ids)[:count])


@dataclass(frozen=True)
class Noise:
    """The noise level of one state of a collection; each query has its own level.

    A query's level is ``base`` plus half the cosine that one image in twenty of the sample exceeds with it. ``base`` is
    chosen so that one random pair of images in a thousand exceeds the level of its first image. Near-duplicates (pairs
    with a cosine of ``alike`` or more) are ignored: copies and bursts say nothing about unrelated images.

    Attributes:
        base: Common part of all levels.
        typical: Median level of the sample's images.
        alike: Cosine of near-duplicates; a score that reaches it is never noise.
    """

    base: float
    typical: float
    alike: float

    def levels(self, queries: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute the levels of queries.

        Args:
            queries: Unit vectors, float32 (n, dim).
            vectors: The sample's unit vectors, float32 (m, dim).

        Returns:
            float32 (n,).
        """
        return self.levels_of(queries @ vectors.T)

    def levels_of(self, cosines: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute the levels of queries from their scores.

        Args:
            cosines: Score of each query with each image of the sample, float32 (n, m).

        Returns:
            float32 (n,).
        """
        own = _own(cosines, self.alike)
        levels = np.where(np.isnan(own), self.typical, self.base + SHARE * own)
        return np.minimum(levels, self.alike).astype(np.float32)


def measure_noise(vectors: NDArray[np.float32], alike: float = COPY) -> Noise | None:
    """Measure the noise level of a sample.

    Args:
        vectors: Unit vectors, float32 (m, dim).
        alike: Cosine of near-duplicates.

    Returns:
        The noise level; None for fewer than 46 images, or fewer than a thousand pairs that are no near-duplicates.
    """
    count = len(vectors)
    if count < FEWEST:
        return None
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, 1)
    return noise_of(cosines, alike)


def noise_of(cosines: NDArray[np.float32], alike: float = COPY) -> Noise | None:
    """Measure the noise level from the scores of images with each other.

    Args:
        cosines: Score of each query with each image of the sample, float32 (n, m); 1 where both are the same image.
        alike: Score of near-duplicates.

    Returns:
        The noise level; None for fewer than a thousand pairs that are no near-duplicates.
    """
    own = _own(cosines, alike)
    stands_out = cosines - SHARE * own[:, None]
    stands_out = stands_out[(cosines < alike) & ~np.isnan(own)[:, None]]
    if len(stands_out) < FEWEST * (FEWEST - 1):  # each pair occurs twice
        return None
    base = float(np.quantile(stands_out, QUANTILE))
    if cosines.shape[1] < FEW:
        base = min(base, _continued(stands_out))
    return Noise(base, min(base + SHARE * float(np.nanmedian(own)), alike), alike)


def _continued(values: NDArray[np.floating]) -> float:
    """The quantile ``QUANTILE`` of (n,), if the tail beyond ``TAIL`` were exponential: outliers do not move it."""
    low, high = np.quantile(values, TAIL)
    scale = (high - low) / np.log((1 - TAIL[0]) / (1 - TAIL[1]))
    return float(high + scale * np.log((1 - TAIL[1]) / (1 - QUANTILE)))


def _own(cosines: NDArray[np.float32], alike: float) -> NDArray[np.float32]:
    """The quantile ``OWN`` of each row (n, m) among its cosines below ``alike``; NaN if there are fewer than 20."""
    own = np.full(len(cosines), np.nan, np.float32)
    for row, values in enumerate(cosines):
        far = values[values < alike]
        if len(far) >= 1 / (1 - OWN):
            own[row] = np.quantile(far, OWN)
    return own
