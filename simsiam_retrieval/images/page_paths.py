"""Names for the pages of a file: ``scan.tif/page 2`` is the second page of ``scan.tif``."""

import hashlib
import re
from pathlib import Path

_PAGE = re.compile(r"page ([1-9]\d{0,4})")


def page_path(file: Path, page: int) -> Path:
    """The name of a page, from 1 on; the first has the file's own."""
    return file if page == 1 else file / f"page {page}"


def page_of(path: Path) -> tuple[Path, int]:
    """The file and the page that a name means, by its form alone."""
    found = _PAGE.fullmatch(path.name)
    return (path, 1) if found is None else (path.parent, int(found[1]))


def mark_page(digest: "hashlib._Hash", page: int) -> bytes:
    """The digest of a page, by the digest of its file's bytes: pages are other pictures than their file's first."""
    if page > 1:
        digest.update(b"\0page %d" % page)
    return digest.digest()


def content_digest(path: Path) -> bytes:
    """SHA-256 of the bytes of the file or page that ``path`` means; raises OSError where it cannot be read."""
    file, page = file_and_page(path)
    with file.open("rb") as stream:
        return mark_page(hashlib.file_digest(stream, "sha256"), page)


def file_and_page(path: Path, page: int = 1) -> tuple[Path, int]:
    """The file that ``path`` means, and its page; ``page`` where the path names none. A file that is called
    ``page 2`` itself, in a folder, stays what it is.
    """
    file, number = page_of(path)
    return (file, number) if number > 1 and file.is_file() else (path, page)
