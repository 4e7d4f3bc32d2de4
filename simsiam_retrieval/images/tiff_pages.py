"""The pages of a TIFF, listed by tifffile (extra ``scientific``): which one is the picture, and how many there are."""

import importlib
import importlib.util
import io
import logging
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from .metadata import parse_date
from .page_paths import MOST_PAGES
from .tiff_layout import MIN_IS_BLACK, is_plain


class _Tifffile:
    """tifffile, imported when the first TIFF is opened: every worker process imports this module."""

    def __getattr__(self, name: str) -> Any:
        logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)  # the report gives the reason, once
        return getattr(importlib.import_module("tifffile"), name)


tifffile = _Tifffile() if importlib.util.find_spec("tifffile") else None

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
EXTRA = "pip install 'simsiam-retrieval[scientific]'"
PAGES = 64  # pages that are searched for the picture in full resolution
RAW_PHOTOMETRICS = (32803, 34892)  # a colour filter array, linear raw


@dataclass(frozen=True)
class Page:
    """The page of a TIFF that is its picture, not yet read.

    Attributes:
        number: Number in the main chain of pages; -1 for a page inside another one.
        plain: Whether Pillow reads it correctly.
        raw: Whether it is a camera's sensor data.
        count: Number of full-resolution pages of the file.
        page: tifffile's page.
    """

    number: int
    plain: bool
    raw: bool
    count: int
    page: Any


def version() -> str | None:
    """Return the version of tifffile.

    Returns:
        The version; None if it is not installed.
    """
    if tifffile is None:
        return None
    from importlib import metadata

    return metadata.version("tifffile")


def find_page(content: bytes, wanted: int = 1) -> tuple[Any, Page] | None:
    """Find a page in full resolution.

    Args:
        content: The file.
        wanted: Number of the page among those in full resolution, from 1 on.

    Returns:
        The open file and the page; None if tifffile is missing or fails, or there is no such page.
    """
    if tifffile is None:
        return None
    try:
        file = tifffile.TiffFile(io.BytesIO(content))
        pages = _first_pages(file, max(PAGES, wanted))
        first = pages[0][1]
        inner = [] if getattr(first, "subifds", None) is None else [(-1, page) for page in first.pages]
        reduced = [entry for entry in pages if _is_reduced(entry[1])]
        full = [entry for entry in pages if not _is_reduced(entry[1])]
        if _is_reduced(first):
            full = [entry for entry in inner if not _is_reduced(entry[1])] + full
        raw = "DNGVersion" in first.tags or any(photometric(page) in RAW_PHOTOMETRICS for _, page in [*full, *inner])
        full = full or [max(reduced, key=lambda entry: entry[1].imagewidth)]
        # a longer chain is only walked along
        count = len(full) if len(pages) < max(PAGES, wanted) else len(full) + len(file.pages) - len(pages)
        number, page = full[wanted - 1]
        return file, Page(number, _is_plain(page), raw, count, page)
    except Exception:  # noqa: BLE001  # on damaged input tifffile can raise almost any exception; then Pillow decides
        return None


def _first_pages(file: Any, count: int) -> list[tuple[int, Any]]:
    pages = []
    for number in range(count):
        try:
            pages.append((number, file.pages[number]))
        except IndexError:
            break
    return pages


def count_pages(path: Path) -> int:
    """Count the pages in full resolution.

    Args:
        path: The file.

    Returns:
        The number, up to ``MOST_PAGES``; 1 if it is unknown.
    """
    if tifffile is None:
        return 1
    try:
        with path.open("rb") as stream:
            if stream.read(4) not in MAGIC:
                return 1
            stream.seek(0)
            with tifffile.TiffFile(stream) as file:
                pages = _first_pages(file, MOST_PAGES)
                full = [page for _, page in pages if not _is_reduced(page)]
                # one more may hang below a small first page
                below = _is_reduced(pages[0][1]) and getattr(pages[0][1], "subifds", None) is not None
                inner = [page for page in pages[0][1].pages if not _is_reduced(page)] if below else []
                return max(1, len(full) + len(inner))
    except Exception:  # noqa: BLE001  # damaged: reading it will say why
        return 1


def taken(page: Any) -> datetime | None:
    """Read when the picture of a page was taken, otherwise digitised, from its EXIF data.

    Args:
        page: tifffile's page.

    Returns:
        The time; None if it says nothing.
    """
    try:
        tags = page.tags[34665].value
        dates = (parse_date(str(tags.get(name) or "")) for name in ("DateTimeOriginal", "DateTimeDigitized"))
        return next((date for date in dates if date is not None), None)
    except Exception:  # noqa: BLE001  # damaged EXIF costs the date alone
        return None


def photometric(page: Any) -> int:
    """Read how a page's samples are to be understood (PhotometricInterpretation).

    Args:
        page: tifffile's page.

    Returns:
        The value of the tag; ``MIN_IS_BLACK`` if there is none.
    """
    return int(page.photometric) if page.photometric is not None else MIN_IS_BLACK


def _is_reduced(page: Any) -> bool:
    return bool(int(page.subfiletype or 0) & 5) or getattr(page, "imagewidth", 0) == 0  # a small copy, or a mask


def _is_plain(page: Any) -> bool:
    """Whether Pillow reads this page correctly."""
    return 42113 not in page.tags and is_plain(
        bits=int(page.bitspersample),
        samples=int(page.samplesperpixel or 1),
        kind=int(page.sampleformat or 1),
        compression=int(page.compression),
        planar=int(page.planarconfig or 1),
        photometric=photometric(page),
        extras=tuple(int(kind) for kind in page.extrasamples or ()),
    )
