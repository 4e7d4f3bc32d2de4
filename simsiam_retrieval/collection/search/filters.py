"""Which images of a collection a search is about.

``Filter`` is the one description of these conditions: the command line's options, an address of the Search page and
the Python API are made from its fields.
"""

import fnmatch
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from tyro.conf import Suppress, UseAppendAction, arg

from ...core.errors import UserError
from ...core.paths import absolute
from ...core.text import one_spelling
from .measure_range import FROM_TEXT, Range

if TYPE_CHECKING:  # nothing heavy: `search --help` needs this module
    from ...images.measures import Measures
    from ..types import Item


@dataclass(frozen=True)
class Filter:
    """Search only images that meet all of these.

    A condition that is empty is met by all images. A condition with several values is met by images that meet one of
    them.

    Raises:
        UserError: No image can meet it, as its limits are the wrong way round.
    """

    folders: Annotated[UseAppendAction[tuple[Path, ...]], arg(name="folder")] = ()
    """Search only at or below this folder; may be repeated."""
    names: Annotated[UseAppendAction[tuple[str, ...]], arg(name="name")] = ()
    """Search only file names that match, such as 'IMG_*'; may be repeated."""
    formats: Annotated[UseAppendAction[tuple[str, ...]], arg(name="format")] = ()
    """Search only this format: JPEG, PNG, ...; may be repeated."""
    labels: Annotated[UseAppendAction[tuple[str, ...]], arg(name="label")] = ()
    """Search only images with this label; '' means without one. May be repeated."""
    ids: Suppress[Annotated[frozenset[int] | None, tyro.conf.Fixed]] = None
    """Search only images with one of these ids."""
    since: date | None = None
    """Search only images taken on this day or later (or last changed, if that is unknown)."""
    until: date | None = None
    """Search only images taken on this day or before (or last changed, if that is unknown)."""
    min_side: int | None = None
    """Lowest number of pixels on the shorter side."""
    max_side: int | None = None
    """Highest number of pixels on the longer side."""
    min_bytes: int | None = None
    """Smallest file size, in bytes."""
    max_bytes: int | None = None
    """Largest file size, in bytes."""
    measures: Annotated[UseAppendAction[tuple[Annotated[Range, FROM_TEXT], ...]], arg(name="measure")] = ()
    """Search only images with a measure in this range: NAME=LOW..HIGH, such as brightness=..0.2 (docs/check.md).
    May be repeated."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_given_folders", tuple(self.folders))
        object.__setattr__(self, "folders", tuple(absolute(folder) for folder in self.folders))
        for low, high, what in (
            (self.since, self.until, "dates"),
            (self.min_side, self.max_side, "sides"),
            (self.min_bytes, self.max_bytes, "file sizes"),
            *((found.low, found.high, f"a {found.name}") for found in self.measures),
        ):
            if low is not None and high is not None and low > high:  # type: ignore[operator]
                raise UserError(f"no image has {what} from {low} to {high}")

    @property
    def given_folders(self) -> tuple[Path, ...]:
        """``folders`` as they were given, for messages; ``folders`` itself is absolute."""
        return self.__dict__["_given_folders"]

    def __bool__(self) -> bool:
        return self != Filter()

    def among(
        self, items: "Iterable[Item]", labels: dict[int, str], measures: "Mapping[int, Measures] | None" = None
    ) -> list[int]:
        """Choose the images that meet all conditions.

        Args:
            items: The images.
            labels: Item id -> label, of the whole collection.
            measures: Item id -> measures, of the whole collection.

        Returns:
            Their ids, ascending.

        Raises:
            UserError: A condition is about measures, and no image was measured.
        """
        found = measures or {}
        if self.measures and not found:
            raise UserError(
                "no image of this collection is measured; run: python -m simsiam_retrieval.check --measure"
                " (images of sharded collections cannot be)"
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

        def meets(item: "Item") -> bool:
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


NO_FILTER = Filter()
