"""Blurred, dark, bright, plain, odd or unusual images, found by the measures from indexing."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ...images.measures import Measures
from ..types import Item
from .problems import FENCE, Problem, beyond

MEASURED = ("blurred", "dark", "bright", "low contrast", "plain", "unusual mode")  # of ``measured_problems``
SHAPES = ("odd aspect", "unusual size")  # of ``shape_problems``
RARE_MODE = 0.02  # fraction of the images below which a mode is unusual


class _Rule(NamedTuple):
    kind: str
    value: Callable[[Item, Measures], float]
    high: bool  # whether high values are the problem
    least: float  # smallest interquartile range that counts
    reason: Callable[[Item, Measures], str]


def _log(value: float) -> float:
    return float(np.log2(max(value, 2**-12)))


_RULES = (
    _Rule("blurred", lambda i, m: _log(m.sharpness), False, 0.5, lambda i, m: f"sharpness {m.sharpness:.3g}"),
    _Rule("dark", lambda i, m: m.highlights, False, 0.1, lambda i, m: f"99 % of it is below {m.highlights:.0%} grey"),
    _Rule("bright", lambda i, m: m.shadows, True, 0.1, lambda i, m: f"95 % of it is above {m.shadows:.0%} grey"),
    _Rule("low contrast", lambda i, m: _log(m.contrast), False, 0.25, lambda i, m: f"contrast {m.contrast:.3f}"),
    _Rule("plain", lambda i, m: m.detail, False, 0.25, lambda i, m: f"detail {m.detail:.2f} of 8 bits"),
)


def measured_problems(
    items: Sequence[Item], measures: Mapping[int, Measures], fence: float = FENCE
) -> Iterator[Problem]:
    """Find problems by comparing each image's measures with those of all images; each kind's worst first.

    An image is listed if a value is more than ``fence`` interquartile ranges beyond the collection's quartile.

    Args:
        items: The images.
        measures: Item id -> measures.
        fence: Interquartile ranges.

    Yields:
        The problems.
    """
    items = [item for item in items if item.id in measures]
    if not items:
        return
    for rule in _RULES:
        values = np.array([rule.value(item, measures[item.id]) for item in items])
        scores, _ = beyond(values, rule.least, high=rule.high)
        for place in _worst(scores, fence):
            item = items[place]
            reason = rule.reason(item, measures[item.id])
            yield Problem(rule.kind, str(item.path), float(scores[place]), reason, item)
    modes = Counter(found for item in items if (found := measures[item.id].mode))
    for item in items:
        mode = measures[item.id].mode
        if mode and modes[mode] < RARE_MODE * modes.total():
            reason = f"mode {mode}, as {modes[mode]} of {modes.total()} images"
            yield Problem("unusual mode", str(item.path), -_log(modes[mode] / modes.total()), reason, item)


def shape_problems(items: Sequence[Item], fence: float = FENCE) -> Iterator[Problem]:
    """Find images of unusual aspect ratio or size; each kind's worst first.

    Args:
        items: The images.
        fence: Interquartile ranges.

    Yields:
        The problems.
    """
    if not items:
        return
    lengths = np.abs(np.log2([item.width / item.height for item in items]))  # portrait and landscape count alike
    pixels = np.log2([float(item.width * item.height) for item in items])
    too_few_or_many = np.maximum(*(beyond(pixels, 0.5, high=high)[0] for high in (False, True)))
    found = {"odd aspect": beyond(lengths, 0.25, high=True)[0], "unusual size": too_few_or_many}
    for kind, scores in found.items():
        for place in _worst(scores, fence):
            item = items[place]
            size = f"{item.width} x {item.height} pixels"
            reason = f"{item.width / item.height:.2g} times as wide as high ({size})" if kind == "odd aspect" else size
            yield Problem(kind, str(item.path), float(scores[place]), reason, item)


def _worst(scores: np.ndarray, fence: float) -> list[int]:
    order = np.argsort(-scores, kind="stable")
    return [place for place in order.tolist() if scores[place] > fence]
