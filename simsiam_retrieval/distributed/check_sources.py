"""Checks of the folders, files and URLs that an update names, before anything is embedded."""

from pathlib import Path

from ..core.errors import UserError
from ..core.paths import is_missing
from .list_sources import Found
from .locations import is_url


def apart(named: list[str], recorded: list[str]) -> list[str]:
    """Check that no source is inside another one, because its images would count twice.

    Args:
        named: Sources of this update.
        recorded: Sources of the collection.

    Returns:
        Each source of ``named`` once.

    Raises:
        UserError: One is inside another, or there is none.
    """
    named = list(dict.fromkeys(named))
    if not named and not recorded:
        raise UserError("name a folder, archive, table or URL of images to index")
    for one in named:
        for other in (*named, *recorded):
            if _lies_in(one, other):
                raise UserError(f"{one}: is inside {other}; name only {other}")
        for other in recorded:
            if _lies_in(other, one):
                raise UserError(f"{one}: contains {other}, which is in the collection; name a new --collection")
    return named


def _lies_in(one: str, other: str) -> bool:
    return one.startswith(other.rstrip("/") + "/")


def is_gone(source: str) -> bool:
    """Return whether a local source does not exist any more.

    Args:
        source: Folder, file or URL.

    Returns:
        True if it is gone; False for every URL.
    """
    return not is_url(source) and is_missing(Path(source))


def holds_images(found: Found) -> bool:
    """Return whether a source has images, archives or tables.

    Args:
        found: What was found there.

    Returns:
        True if it has.
    """
    return bool(found.files or found.archives or found.tables)
