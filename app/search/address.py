"""What the Search page shows, as the part of its address behind the question mark."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from simsiam_retrieval.collection import Item
from simsiam_retrieval.collection.search.filters import NO_FILTER, Filter, Range
from simsiam_retrieval.collection.search.search_options import SearchOptions
from simsiam_retrieval.core.errors import UserError

from .. import settings

RESULTS = (12, 24, 48, 96)  # choices for the number of results
DEFAULT_RESULTS = 24
SORTS = ("newest", "oldest")  # by date, in place of the usual order
MOST_PAGES = 20  # of results
MOST_IMAGES = 50  # in one query
EARLIEST, LATEST = date(1900, 1, 1), date(2200, 1, 1)  # days that the filter can show
LEAVING = "leaving"  # in the session: the address that another page sends its visitor to

# parameter -> field of Filter; addresses that somebody has kept must go on working
CONDITIONS = {
    "folder": "folders",
    "name": "names",
    "format": "formats",
    "label": "labels",
    "since": "since",
    "until": "until",
    "side": "min_side",
    "measure": "measures",
}

Box = tuple[int, int, int, int]  # left, top, width, height
MOST_BOXES = 5  # of one query


@dataclass(frozen=True)
class Address:
    """One state of the page. ``Address()`` is all photos, from the start."""

    image: str | None = None  # id of the chosen image, as it came: it may be nonsense
    upload: bool = False  # the given photos' neighbours; their pixels are never in the address
    more: tuple[int, ...] = ()  # ids of images to be similar to, besides
    less: tuple[int, ...] = ()  # ids of images not to be similar to
    page: int = 1  # of all photos, or of results
    results: int = DEFAULT_RESULTS
    cut: int = 0  # similarity that results have at least, in hundredths
    copies: bool = False  # near-duplicates one by one, not as one tile
    sort: str = ""  # one of SORTS; by path, or by similarity
    boxes: tuple[Box, ...] = ()  # parts of the chosen image or the given photo to search for, in pixels
    inside: bool = False  # look for the query inside larger images, too
    only: Filter = NO_FILTER

    @classmethod
    def read(cls, parameters: Mapping[str, str]) -> "Address":
        """Read an address; parameters that make no sense fall back to the default.

        Args:
            parameters: Query parameters.

        Returns:
            The address.
        """
        results = as_number(parameters.get("results"))
        sort = parameters.get("sort", "")
        return cls(
            image=parameters.get("image"),
            upload="upload" in parameters,
            more=_ids(parameters.get("more")),
            less=_ids(parameters.get("less")),
            page=as_number(parameters.get("page")) or 1,
            results=results if results in RESULTS else DEFAULT_RESULTS,
            cut=min(as_number(parameters.get("cut")) or 0, 100),
            copies="copies" in parameters,
            sort=sort if sort in SORTS else "",
            boxes=_boxes(parameters.get("box")),
            inside="inside" in parameters,
            only=_conditions(parameters),
        )

    def parameters(self) -> dict[str, str]:
        """Return the query parameters; defaults are left out.

        Returns:
            Name -> value.
        """
        found = {}
        if self.image is not None:
            found["image"] = self.image
        elif self.upload:
            found["upload"] = "1"
        for name in ("more", "less"):
            if getattr(self, name):
                found[name] = ",".join(map(str, getattr(self, name)))
        if self.page != 1:
            found["page"] = str(self.page)
        if self.results != DEFAULT_RESULTS:
            found["results"] = str(self.results)
        if self.cut:
            found["cut"] = str(self.cut)
        if self.copies:
            found["copies"] = "1"
        if self.sort:
            found["sort"] = self.sort
        if self.boxes:
            found["box"] = ";".join(",".join(map(str, box)) for box in self.boxes)
        if self.inside:
            found["inside"] = "1"
        found |= _texts(self.only)
        return found | settings.mark() if self.image is not None or self.more or self.less else found

    def search_options(self, k: int, unlike: Sequence[Item]) -> SearchOptions:
        """Return the options of the search that this address asks for.

        Args:
            k: Number of results.
            unlike: The images of ``less``.

        Returns:
            The options.
        """
        return SearchOptions(k, unlike=tuple(unlike), where=self.only, inside=self.by_region)

    @property
    def by_region(self) -> bool:
        """Whether queries are compared with parts of images, too."""
        return bool(self.boxes) or self.inside

    @property
    def is_query(self) -> bool:
        """Whether it asks for neighbours."""
        return self.image is not None or self.upload or bool(self.more)

    def of_image(self, id_: int) -> "Address":
        """Return the address of an image's neighbours, under the same conditions.

        Args:
            id_: Id of the image.

        Returns:
            The address.
        """
        return Address(
            image=str(id_),
            results=self.results,
            cut=self.cut,
            copies=self.copies,
            inside=self.inside,
            only=self.only,
        )

    def everything(self) -> "Address":
        """Return the address of all photos, under the same conditions.

        Returns:
            The address.
        """
        return Address(results=self.results, copies=self.copies, sort=self.sort, only=self.only)

    def with_more(self, id_: int) -> "Address":
        """Add an image to the query.

        Args:
            id_: Id of the image.

        Returns:
            The new address.
        """
        less = tuple(other for other in self.less if other != id_)
        if self.image == str(id_) or id_ in self.more:
            return replace(self, less=less, page=1)
        return replace(self, more=(*self.more, id_)[:MOST_IMAGES], less=less, page=1)

    def with_less(self, id_: int) -> "Address":
        """Lead the query away from an image.

        Args:
            id_: Id of the image.

        Returns:
            The new address.
        """
        more = tuple(other for other in self.more if other != id_)
        less = (*(other for other in self.less if other != id_), id_)[:MOST_IMAGES]
        return replace(self, more=more, less=less, page=1)

    def without(self, id_: int) -> "Address":
        """Remove an image from the query.

        Args:
            id_: Id of the image.

        Returns:
            The new address.
        """
        return replace(
            self,
            more=tuple(other for other in self.more if other != id_),
            less=tuple(other for other in self.less if other != id_),
            page=1,
        )


def as_number(text: str | None) -> int | None:
    """Parse a whole number that SQLite can hold.

    Args:
        text: The text.

    Returns:
        The number, or None.
    """
    if text is None or not (text.isascii() and text.isdecimal()) or len(text) > 18:
        return None
    return int(text)


def as_date(text: str) -> date | None:
    """Parse a day.

    Args:
        text: YYYY-MM-DD.

    Returns:
        The day, or None.
    """
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _is_shown(text: str) -> bool:
    """Whether the filter can show this day."""
    day = as_date(text)
    return day is not None and EARLIEST <= day <= LATEST


def _ids(text: str | None) -> tuple[int, ...]:
    found = dict.fromkeys(as_number(word) for word in (text or "").split(","))
    return tuple(id_ for id_ in found if id_ is not None)[:MOST_IMAGES]


def _boxes(text: str | None) -> tuple[Box, ...]:
    """Boxes that make sense."""
    found = []
    for words in (text or "").split(";")[:MOST_BOXES]:
        match [as_number(word) for word in words.split(",")]:
            case [int(left), int(top), int(width), int(height)] if width and height:
                found.append((left, top, width, height))
    return tuple(found)


def count(only: Filter) -> int:
    """Return how many conditions there are.

    Args:
        only: The filter.

    Returns:
        The number.
    """
    return len(_texts(only))


def _conditions(parameters: Mapping[str, str]) -> Filter:
    """The filter of an address; values that make no sense are no condition."""
    values = {CONDITIONS[name]: text for name, text in parameters.items() if name in CONDITIONS}
    found: dict[str, Any] = {name: (values[name],) for name in ("names", "formats") if values.get(name)}
    if values.get("folders"):
        found["folders"] = (Path(values["folders"]),)
    if "labels" in values:
        found["labels"] = (values["labels"],)  # "" is without a label
    dates: dict[str, Any] = {
        name: as_date(values[name]) for name in ("since", "until") if _is_shown(values.get(name, ""))
    }
    if values.get("measures"):
        with contextlib.suppress(UserError):  # no such measure, or no range
            found["measures"] = Filter(measures=(Range.parse(values["measures"]),)).measures
    found["min_side"] = as_number(values.get("min_side")) or None
    with contextlib.suppress(UserError):  # dates that are the wrong way round
        return Filter(**found, **dates)
    with contextlib.suppress(UserError):  # a folder that cannot be
        return Filter(**found)
    del found["folders"]
    return Filter(**found)


def _texts(only: Filter) -> dict[str, str]:
    """A filter as parameters of an address."""
    values = {name: getattr(only, field) for name, field in CONDITIONS.items()} | {"folder": only.given_folders}
    return {
        name: str(value[0] if isinstance(value, tuple) else value)
        for name, value in values.items()
        if value not in ((), None)
    }
