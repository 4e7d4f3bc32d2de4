"""A condition on one measure of an image, as ``--measure`` gives it."""

from math import isfinite
from typing import TYPE_CHECKING, NamedTuple

import tyro

from ...core.errors import UserError

if TYPE_CHECKING:  # nothing heavy: `search --help` needs this module
    from ...images.measures import Measures


class Range(NamedTuple):
    """A condition on one of the ``Measures``.

    Attributes:
        name: The measure.
        low: Lowest value; None is no limit.
        high: Highest value; None is no limit.
    """

    name: str
    low: float | None = None
    high: float | None = None

    @classmethod
    def parse(cls, text: str) -> "Range":
        """Read a range.

        Args:
            text: ``NAME=LOW..HIGH``; LOW or HIGH may be left out.

        Returns:
            The range.

        Raises:
            UserError: It is something else.
        """
        from ...images.measures import NUMBERS  # imports Pillow and NumPy

        name, given, limits = text.partition("=")
        low, dots, high = limits.partition("..")
        if name not in NUMBERS:
            raise UserError(f"--measure {text}: no such measure; there are {', '.join(NUMBERS)}")
        try:
            found = cls(name, float(low) if low else None, float(high) if high else None)
        except ValueError:
            found = cls(name)
        if (
            not (given and dots)
            or (found.low is None and found.high is None)
            or not all(map(isfinite, filter(None, found[1:])))
        ):
            raise UserError(f"--measure {text}: write a range of numbers, such as {name}=0.2..0.8 or {name}=..0.1")
        return found

    def __str__(self) -> str:
        low, high = ("" if limit is None else f"{limit:g}" for limit in (self.low, self.high))
        return f"{self.name}={low}..{high}"

    def meets(self, measures: "Measures | None") -> bool:
        """Return whether an image is within the range.

        Args:
            measures: Its measures; None if it was not measured.

        Returns:
            True if it is; an image that was not measured is not.
        """
        if measures is None:
            return False
        value = getattr(measures, self.name)
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)


FROM_TEXT = tyro.constructors.PrimitiveConstructorSpec(
    nargs=1,
    metavar="STR",
    instance_from_str=lambda words: Range.parse(words[0]),
    is_instance=lambda value: isinstance(value, Range),
    str_from_instance=lambda value: [str(value)],
)
