"""What a list of collections says of each: read in milliseconds, however large it is."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from .storage.catalog_file import explained
from .storage.opening import open_store


@dataclass(frozen=True)
class Summary:
    """A collection in one line."""

    images: int
    labels: int
    encoder: str  # identity
    roots: list[Path]
    size: int  # bytes on disk of all its files


def summarise(folder: Path) -> Summary:
    """Read the summary of a collection.

    Args:
        folder: The collection's folder.

    Returns:
        The summary.

    Raises:
        UserError: It is no collection, or damaged.
    """
    with explained(folder), contextlib.closing(open_store(folder)) as catalog:
        return Summary(
            catalog.count(),
            len(catalog.labels()),
            catalog.meta("encoder"),
            catalog.roots(),
            sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
        )
