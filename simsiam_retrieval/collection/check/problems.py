"""The kinds of problems that `check` finds, and the rule where a problem begins."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..types import Item

NEAR_DUPLICATE, LEAK, LABEL_ERROR = "near-duplicate", "leak", "label error"  # they depend on options
FENCE = 1.5  # interquartile ranges beyond a quartile (Tukey 1977)

KINDS = {
    "damaged": "files that cannot be read",
    "missing": "files that are gone or have changed since they were indexed",
    "blurred": "little detail at the finest scale, for its contrast",
    "dark": "even the brightest part is dark",
    "bright": "even the darkest part is bright",
    "low contrast": "all grey values are close together",
    "plain": "few different grey values",
    "odd aspect": "much longer, by its shorter side, than most",
    "unusual size": "far fewer or far more pixels than most",
    "unusual mode": "stores its pixels as few others do",
    NEAR_DUPLICATE: "a copy of another image, or nearly",
    LEAK: "a copy of an image of another split, or nearly",
    "outlier": "unlike all other images",
    LABEL_ERROR: "probably of another class than its label says",
}


@dataclass(frozen=True)
class Problem:
    """A problem of an image.

    Attributes:
        kind: Kind of ``KINDS``.
        path: Path of the file.
        score: How far beyond the usual values of the collection; sorted by it.
        reason: What was found.
        item: The image; None for a file that is not in the collection.
        other: The image that it is similar to.
        fine: Whether a person marked it as fine.
    """

    kind: str
    path: str
    score: float
    reason: str
    item: Item | None = None
    other: str | None = None
    fine: bool = False

    def as_dict(self) -> dict[str, str | float | bool | None]:
        """Return the values for JSON and CSV.

        Returns:
            Name -> value.
        """
        return {
            "kind": self.kind,
            "path": self.path,
            "id": None if self.item is None else self.item.id,
            "score": round(self.score, 4),
            "reason": self.reason,
            "other": self.other,
            "fine": self.fine,
        }

    def marked_fine(self, fine: bool = True) -> "Problem":
        """Mark the problem as fine, or as not fine.

        Args:
            fine: False removes the mark.

        Returns:
            The problem with that mark.
        """
        return self if fine == self.fine else replace(self, fine=fine)


def beyond(values: NDArray[np.floating], least: float, *, high: bool) -> tuple[NDArray[np.float64], float]:
    """Compute how many interquartile ranges each value is beyond the quartile.

    Args:
        values: (n,).
        least: Smallest interquartile range that is used, so that tiny differences among nearly equal images do not
            count.
        high: Whether to measure above the upper quartile, or below the lower one.

    Returns:
        float64 (n,), positive beyond the quartile, and the interquartile range.
    """
    lower, upper = np.quantile(values, [0.25, 0.75])
    spread = max(float(upper - lower), least)
    return (values - upper if high else lower - values).astype(np.float64) / spread, spread
