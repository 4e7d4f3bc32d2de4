"""Names for the pages of a file: ``scan.tif/page 2`` is the second page of ``scan.tif``."""

import hashlib
import re
from pathlib import Path

_PAGE = re.compile(r"page ([1-9]\d{0,4})")


def page_path(file: Path, page: int) -> Path:
    """Return the name of a page, from 1 on; the first page has the name of its file."""
    return file if page == 1 else file / f"page {page}"


def page_of(path: Path) -> tuple[Path, int]:
    """Return the file and the page that a name means, by its form alone."""
    found = _PAGE.fullmatch(path.name)
    return (path, 1) if found is None else (path.parent, int(found[1]))


def mark_page(digest: "hashlib._Hash", page: int) -> bytes:
    """Return the digest of a page, from the digest of its file's bytes; the first page has the digest of its file."""
    if page > 1:
        digest.update(b"\0page %d" % page)
    return digest.digest()


def content_digest(path: Path) -> bytes:
    """Return the digest of the file or page that a path means; raises OSError if it cannot be read."""
    file, page = file_and_page(path)
    with file.open("rb") as stream:
        return mark_page(hashlib.file_digest(stream, "sha256"), page)


def file_and_page(path: Path, page: int = 1) -> tuple[Path, int]:
    """Return the file that a path means, and the page.

    A file that is itself called ``page 2``, in a folder, stays what it is.

    Args:
        path: A file, or a page of one.
        page: The page if the path names none.

    Returns:
        The file, and the number of the page, from 1 on.
    """
    file, number = page_of(path)
    return (file, number) if number > 1 and file.is_file() else (path, page)
