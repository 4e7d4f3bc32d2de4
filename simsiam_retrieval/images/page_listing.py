"""Listings in which each page of a TIFF and each frame of a DICOM file is a separate entry."""

import dataclasses
from pathlib import Path

from . import dicom, tiff_pages
from .dicom_names import may_be_dicom
from .files import ImageFile, Listing
from .page_choice import FIRST
from .page_paths import page_path
from .worker_pool import map_chunks

TIFFS = frozenset((".tif", ".tiff", ".btf", ".tf8"))
SECONDS = 20.0  # time limit for one file; only its directory is read


def with_pages(listing: Listing, pages: str, *, workers: int | None = None) -> Listing:
    """Add an entry for each page of the TIFFs and DICOM files in a listing, if ``pages`` is "all".

    Worker processes count the pages from the files' headers alone. ``page_paths.py`` defines the names.

    Args:
        listing: The listing.
        pages: "first" or "all".
        workers: Number of worker processes; None chooses it.

    Returns:
        The new listing.
    """
    if pages == FIRST:
        return listing
    files = [image.path for image in listing.images if _is_tiff(image.path) or may_be_dicom(image.path)]
    chunks = map_chunks(_numbers, files, lost=lambda path, reason: [1], workers=workers, seconds_per_item=SECONDS)
    numbers = dict(zip(files, (numbers for chunk in chunks for numbers in chunk), strict=True))
    images: list[ImageFile] = []
    for image in listing.images:
        images += [
            dataclasses.replace(image, path=page_path(image.path, page)) for page in numbers.get(image.path, [1])
        ]
    return dataclasses.replace(listing, images=images)


def _numbers(paths: list[Path]) -> list[list[int]]:
    return [
        list(range(1, tiff_pages.count_pages(path) + 1)) if _is_tiff(path) else dicom.frame_pages(path)
        for path in paths
    ]


def _is_tiff(path: Path) -> bool:
    return path.suffix.lower() in TIFFS
