"""Names for the pages of a file: ``scan.tif/page 2`` is the second page of ``scan.tif``.

The frames of a DICOM file are named in the same way. Its own picture is the middle frame, so its first frame has a
name, too: ``heart.dcm/page 1``. The number of that page is ``FIRST_FRAME`` (0); 1 always means the file's own picture.
"""

import hashlib
import re
from pathlib import Path

FIRST_FRAME = 0
MOST_PAGES = 10_000  # largest number of pages of a file that become items of their own
_PAGE = re.compile(r"page ([1-9]\d{0,4})")


def page_path(file: Path, page: int) -> Path:
    """Return the name of a page. The file's own picture has the name of the file.

    Args:
        file: The file.
        page: Number of the page, from 1; ``FIRST_FRAME`` for a DICOM file's first frame.

    Returns:
        The name.
    """
    return file if page == 1 else file / f"page {page or 1}"


def page_of(path: Path) -> tuple[Path, int]:
    """Split a name into file and page, by its form alone.

    Args:
        path: A file, or a page of one.

    Returns:
        The file, and the number of the page; ``FIRST_FRAME`` for "page 1".
    """
    found = _PAGE.fullmatch(path.name)
    if found is None:
        return path, 1
    return path.parent, FIRST_FRAME if found[1] == "1" else int(found[1])


def mark_page(digest: "hashlib._Hash", page: int) -> bytes:
    """Return the digest of a page. The file's own picture has the digest of the file.

    Args:
        digest: Hash of the file's bytes; it is changed.
        page: Number of the page.

    Returns:
        The digest.
    """
    if page != 1:
        digest.update(b"\0page %d" % (page or 1))
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
        The file, and the number of the page; ``FIRST_FRAME`` for "page 1".
    """
    file, number = page_of(path)
    return (file, number) if number != 1 and file.is_file() else (path, page)
