"""Listings in which each page of a TIFF is a separate entry."""

import dataclasses
from pathlib import Path

from ..core.errors import UserError
from . import tiff_pages
from .files import ImageFile, Listing
from .page_paths import page_path
from .worker_pool import map_chunks

FIRST, ALL = "first", "all"
TIFFS = frozenset((".tif", ".tiff", ".btf", ".tf8"))
SECONDS = 20.0  # time limit for one file; only its directory is read


def check_pages(pages: str) -> str:
    """Check the value of ``--pages``.

    Args:
        pages: The value.

    Returns:
        The value.

    Raises:
        UserError: It is unknown.
    """
    if pages not in (FIRST, ALL):
        raise UserError(f"--pages {pages}: choose {FIRST} or {ALL}")
    return pages


def with_pages(listing: Listing, pages: str, *, workers: int | None = None) -> Listing:
    """Add an entry for each page of the TIFFs in a listing, if ``pages`` is "all".

    Worker processes count the pages from the files' directories alone. ``page_paths.py`` defines the names.

    Args:
        listing: The listing.
        pages: "first" or "all".
        workers: Number of worker processes; None chooses it.

    Returns:
        The new listing.
    """
    if pages == FIRST:
        return listing
    tiffs = [image.path for image in listing.images if image.path.suffix.lower() in TIFFS]
    counted = map_chunks(
        _count,
        tiffs,
        lost=lambda path, reason: 1,
        workers=workers,
        seconds_per_item=SECONDS,
    )
    counts = dict(zip(tiffs, (count for chunk in counted for count in chunk), strict=True))
    images: list[ImageFile] = []
    for image in listing.images:
        every = range(1, counts.get(image.path, 1) + 1)
        images += [dataclasses.replace(image, path=page_path(image.path, page)) for page in every]
    return dataclasses.replace(listing, images=images)


def _count(paths: list[Path]) -> list[int]:
    return [tiff_pages.count_pages(path) for path in paths]
