"""What `check` finds: a problem of an image, and where a collection's own values say that one begins."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..types import Item

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
    "near-duplicate": "a copy of another image, or nearly",
    "outlier": "unlike all other images",
}


@dataclass(frozen=True)
class Problem:
    """Something about an image that is worth a look."""

    kind: str  # of KINDS
    path: str
    score: float  # how far beyond what is usual in the collection; the largest first
    reason: str
    item: Item | None = None  # None of files that are not in the collection
    other: str | None = None  # the image that it is like
    fine: bool = False  # somebody said so

    def as_dict(self) -> dict[str, str | float | bool | None]:
        """For JSON and CSV."""
        return {
            "kind": self.kind,
            "path": self.path,
            "id": None if self.item is None else self.item.id,
            "score": round(self.score, 4),
            "reason": self.reason,
            "other": self.other,
            "fine": self.fine,
        }

    def marked_fine(self) -> "Problem":
        return replace(self, fine=True)


def beyond(values: NDArray[np.floating], least: float, *, high: bool) -> tuple[NDArray[np.float64], float]:
    """How many interquartile ranges each of ``values`` (n,) lies beyond the nearer quartile, and the range itself.

    Positive on the side that is asked for, above the upper quartile (``high``) or below the lower one. ``least`` is the
    smallest range that counts, so that among images that are all the same the smallest difference is none.
    """
    lower, upper = np.quantile(values, [0.25, 0.75])
    spread = max(float(upper - lower), least)
    return (values - upper if high else lower - values).astype(np.float64) / spread, spread
