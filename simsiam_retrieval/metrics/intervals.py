"""How far a measured number can be trusted: 95 % confidence intervals."""

import math
from collections.abc import Sequence
from statistics import NormalDist, mean, stdev

import numpy as np

LEVEL = 0.95


def wilson(hits: float, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's score interval of a proportion ``hits / n`` (Wilson 1927): it stays in [0, 1] and holds near its ends.

    It speaks of the test images as a sample; another training set or seed moves the number, too. Raises
    ``ValueError`` for n < 1.
    """
    if n < 1:
        raise ValueError("an interval needs at least one trial")
    z = NormalDist().inv_cdf(0.5 + level / 2)
    p = hits / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def mean_interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
    """Student's t interval of the mean of independent draws. Raises ``ValueError`` for fewer than two."""
    if len(values) < 2:
        raise ValueError("an interval over draws needs at least two of them")
    half = student_quantile(0.5 + level / 2, len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return mean(values) - half, mean(values) + half


def student_quantile(p: float, freedom: int) -> float:
    """Quantile, for 0.5 <= p < 1, of Student's t distribution with ``freedom`` >= 1 degrees of freedom.

    With t = sqrt(freedom) tan(a) the density is proportional to cos(a)^(freedom - 1) on a finite interval, where it is
    integrated by Simpson's rule and its integral inverted. Exact to 6 digits.
    """
    angle = np.linspace(0, math.pi / 2, 200_001)
    density = np.cos(angle).clip(0) ** (freedom - 1)
    step = angle[2] - angle[0]
    area = np.concatenate([[0], np.cumsum(step / 6 * (density[:-2:2] + 4 * density[1::2] + density[2::2]))])
    return math.sqrt(freedom) * math.tan(float(np.interp((p - 0.5) * 2, area / area[-1], angle[::2])))
