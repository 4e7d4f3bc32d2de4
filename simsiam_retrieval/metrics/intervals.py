"""95 % confidence intervals of measured numbers."""

import math
from collections.abc import Sequence
from statistics import NormalDist, mean, stdev

LEVEL = 0.95


def wilson(hits: float, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Compute Wilson's score interval of the proportion ``hits / n`` (Wilson 1927).

    The interval stays within [0, 1] and is reliable near both ends. It covers the choice of the test images only:
    another training set or seed changes the number, too.

    Args:
        hits: Number of successes.
        n: Number of trials.
        level: Confidence level.

    Returns:
        Lower and upper bound.

    Raises:
        ValueError: ``n`` is below 1.
    """
    if n < 1:
        raise ValueError("an interval needs at least one trial")
    z = NormalDist().inv_cdf(0.5 + level / 2)
    p = hits / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def mean_interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
    """Compute Student's t interval of the mean of independent draws.

    Args:
        values: The draws.
        level: Confidence level.

    Returns:
        Lower and upper bound.

    Raises:
        ValueError: There are fewer than two draws.
    """
    if len(values) < 2:
        raise ValueError("an interval over draws needs at least two of them")
    half = student_quantile(0.5 + level / 2, len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return mean(values) - half, mean(values) + half


def student_quantile(p: float, freedom: int) -> float:
    """Compute a quantile of Student's t distribution.

    Args:
        p: Probability, 0 < p < 1.
        freedom: Degrees of freedom, at least 1.

    Returns:
        The quantile t.
    """
    from scipy.special import stdtrit  # here, as the pages of the app need only Wilson's interval

    return float(stdtrit(freedom, p))
