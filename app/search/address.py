"""What the Search page shows, as the part of its address behind the question mark."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import date
from pathlib import Path

from simsiam_retrieval.collection.search.filters import Filter
from simsiam_retrieval.core.errors import UserError

from .. import settings

RESULTS = (12, 24, 48, 96)  # choices for the number of results
DEFAULT_RESULTS = 24
SORTS = ("newest", "oldest")  # by date, in place of the usual order
MOST_PAGES = 20  # of results
MOST_IMAGES = 50  # in one query
EARLIEST, LATEST = date(1900, 1, 1), date(2200, 1, 1)  # days that the filter can show
LEAVING = "leaving"  # in the session: the address that another page sends its visitor to


@dataclass(frozen=True)
class Only:
    """Conditions on images, as people type them; empty ones let everything through."""

    folder: str = ""  # below one of the indexed folders, absolute
    name: str = ""  # glob
    format: str = ""
    label: str | None = None  # "" is without a label
    since: str = ""  # YYYY-MM-DD
    until: str = ""
    side: str = ""  # pixels of the shorter side, at least

    def filter(self) -> Filter:
        """What the collection understands; raises :class:`UserError` for what nothing can meet."""
        return Filter(
            folders=(Path(self.folder),) if self.folder else (),
            names=(self.name,) if self.name else (),
            formats=(self.format,) if self.format else (),
            labels=() if self.label is None else (self.label,),
            since=as_date(self.since),
            until=as_date(self.until),
            min_side=as_number(self.side),
        )

    def count(self) -> int:
        """How many conditions there are."""
        return sum(getattr(self, field.name) != field.default for field in fields(self))


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
    only: Only = Only()

    @classmethod
    def read(cls, parameters: Mapping[str, str]) -> "Address":
        """Read it back; what makes no sense falls back to the default."""
        results = as_number(parameters.get("results"))
        sort = parameters.get("sort", "")
        given = {field.name: parameters[field.name] for field in fields(Only) if field.name in parameters}
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
            only=_possible(Only(**given)),
        )

    def parameters(self) -> dict[str, str]:
        """The query parameters; defaults are left out."""
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
        for field in fields(Only):
            if (value := getattr(self.only, field.name)) != field.default:
                found[field.name] = str(value)
        return found | settings.mark() if self.image is not None or self.more or self.less else found

    @property
    def is_query(self) -> bool:
        """Whether it asks for neighbours."""
        return self.image is not None or self.upload or bool(self.more)

    def of_image(self, id_: int) -> "Address":
        """The neighbours of one image, under the same conditions."""
        return Address(image=str(id_), results=self.results, cut=self.cut, copies=self.copies, only=self.only)

    def everything(self) -> "Address":
        """All photos, under the same conditions."""
        return Address(results=self.results, copies=self.copies, sort=self.sort, only=self.only)

    def with_more(self, id_: int) -> "Address":
        """The same query, and this image, too."""
        less = tuple(other for other in self.less if other != id_)
        if self.image == str(id_) or id_ in self.more:
            return replace(self, less=less, page=1)
        return replace(self, more=(*self.more, id_)[:MOST_IMAGES], less=less, page=1)

    def with_less(self, id_: int) -> "Address":
        """The same query, away from this image."""
        more = tuple(other for other in self.more if other != id_)
        less = (*(other for other in self.less if other != id_), id_)[:MOST_IMAGES]
        return replace(self, more=more, less=less, page=1)

    def without(self, id_: int) -> "Address":
        """The same query, as if this image had never been added."""
        return replace(
            self,
            more=tuple(other for other in self.more if other != id_),
            less=tuple(other for other in self.less if other != id_),
            page=1,
        )


def as_number(text: str | None) -> int | None:
    """A whole number that SQLite can hold, or None."""
    if text is None or not (text.isascii() and text.isdecimal()) or len(text) > 18:
        return None
    return int(text)


def as_date(text: str) -> date | None:
    """A day written YYYY-MM-DD, or None."""
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


def _possible(only: Only) -> Only:
    only = replace(
        only,
        since=only.since if _is_shown(only.since) else "",
        until=only.until if _is_shown(only.until) else "",
        side=only.side if as_number(only.side) else "",
    )
    with contextlib.suppress(UserError):
        only.filter()
        return only
    return replace(only, since="", until="")
