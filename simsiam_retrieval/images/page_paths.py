"""Names for the pages of a file: ``scan.tif/page 2`` is the second page of ``scan.tif``."""

import hashlib
import re
from pathlib import Path

_PAGE = re.compile(r"page ([1-9]\d{0,4})")


def page_path(file: Path, page: int) -> Path:
    """Return the name of a page. The first page has the name of its file.

    Args:
        file: The file.
        page: Number of the page, from 1.

    Returns:
        The name.
    """
    return file if page == 1 else file / f"page {page}"


def page_of(path: Path) -> tuple[Path, int]:
    """Split a name into file and page, by its form alone.

    Args:
        path: A file, or a page of one.

    Returns:
        The file, and the number of the page.
    """
    found = _PAGE.fullmatch(path.name)
    return (path, 1) if found is None else (path.parent, int(found[1]))


def mark_page(digest: "hashlib._Hash", page: int) -> bytes:
    """Return the digest of a page. The first page has the digest of its file.

    Args:
        digest: Hash of the file's bytes; it is changed.
        page: Number of the page.

    Returns:
        The digest.
    """
    if page > 1:
        digest.update(b"\0page %d" % page)
    return digest.digest()


def content_digest(path: Path) -> bytes:
    """Return the digest of a file or a page.

    Args:
        path: A file, or a page of one.

    Returns:
        The digest.

    Raises:
        OSError: It cannot be read.
    """
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
