"""Which images of a collection a search is about."""

import fnmatch
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from math import isfinite
from pathlib import Path
from typing import NamedTuple

from ...core.errors import UserError
from ...core.paths import absolute
from ...core.text import one_spelling
from ...images.measures import NUMBERS, Measures
from ..types import Item


class Range(NamedTuple):
    """A condition on one of the ``Measures``; None is no limit."""

    name: str
    low: float | None = None
    high: float | None = None

    @classmethod
    def parse(cls, text: str) -> "Range":
        """Read ``NAME=LOW..HIGH``, where LOW or HIGH may be left out; raises ``UserError`` for anything else."""
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

    def meets(self, measures: Measures | None) -> bool:
        """Whether an image with these measures is within; one that was not measured is not."""
        if measures is None:
            return False
        value = getattr(measures, self.name)
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)


@dataclass(frozen=True)
class Filter:
    """Conditions that an image must all meet; those left empty let everything through.

    Within one condition any of its values will do. Raises ``UserError`` for values that can match nothing.
    """

    folders: tuple[Path, ...] = ()  # at or below one of these
    names: tuple[str, ...] = ()  # globs for the file's name; letters match in both cases
    formats: tuple[str, ...] = ()  # JPEG, PNG, ..., in either case
    labels: tuple[str, ...] = ()  # "" stands for images without one
    ids: frozenset[int] | None = None
    since: date | None = None  # by ``Item.date``
    until: date | None = None  # that whole day is in
    min_side: int | None = None  # pixels, of the shorter side
    max_side: int | None = None  # pixels, of the longer side
    min_bytes: int | None = None
    max_bytes: int | None = None
    measures: tuple[Range, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "folders", tuple(absolute(folder) for folder in self.folders))
        for low, high, what in (
            (self.since, self.until, "dates"),
            (self.min_side, self.max_side, "sides"),
            (self.min_bytes, self.max_bytes, "file sizes"),
            *((found.low, found.high, f"a {found.name}") for found in self.measures),
        ):
            if low is not None and high is not None and low > high:  # type: ignore[operator]
                raise UserError(f"no image has {what} from {low} to {high}")

    def __bool__(self) -> bool:
        return self != Filter()

    def among(
        self, items: Iterable[Item], labels: dict[int, str], measures: Mapping[int, Measures] | None = None
    ) -> list[int]:
        """Ids of the ``items`` that meet all conditions, ascending; ``labels`` and ``measures`` of the whole
        collection by id.

        Raises ``UserError`` for conditions on measures where nothing was measured.
        """
        found = measures or {}
        if self.measures and not found:
            raise UserError(
                "no image of this collection was measured yet; run: python -m simsiam_retrieval.check --measure"
            )
        globs = [re.compile(fnmatch.translate(one_spelling(name)), re.IGNORECASE) for name in self.names]
        formats = {name.upper() for name in self.formats}
        formats |= {"JPEG", "MPO"} if formats & {"JPG", "JPEG"} else set()
        wanted = set(self.labels)
        first = None if self.since is None else datetime(*self.since.timetuple()[:3])
        last = None if self.until == date.max else self.until  # after that there is no day
        after = None if last is None else datetime(*last.timetuple()[:3]) + timedelta(days=1)
        folders = [one_spelling(os.fspath(folder)) for folder in self.folders]
        inside = tuple(folder.rstrip(os.sep) + os.sep for folder in folders)

        def meets(item: Item) -> bool:
            path = one_spelling(os.fspath(item.path)) if folders else ""
            name = one_spelling(item.path.name)
            return (
                (not folders or path in folders or path.startswith(inside))
                and (not globs or any(glob.match(name) for glob in globs))
                and (not formats or item.format.upper() in formats)
                and (not wanted or labels.get(item.id, "") in wanted)
                and (self.ids is None or item.id in self.ids)
                and (first is None or item.date >= first)
                and (after is None or item.date < after)
                and (self.min_side is None or min(item.width, item.height) >= self.min_side)
                and (self.max_side is None or max(item.width, item.height) <= self.max_side)
                and (self.min_bytes is None or item.size >= self.min_bytes)
                and (self.max_bytes is None or item.size <= self.max_bytes)
                and all(limits.meets(found.get(item.id)) for limits in self.measures)
            )

        return sorted(item.id for item in items if meets(item))
