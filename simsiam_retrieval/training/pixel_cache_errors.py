"""Errors of the cache of decoded images, in one line for the user."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core.errors import UserError
from ..images.files import reason
from .pixel_cache_rows import CATALOG

DELETE = "delete {}, it is created again from the images"


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn errors of the system and of SQLite inside the ``with`` block into one line for the user.

    Args:
        folder: The folder of the cache.

    Yields:
        Nothing.

    Raises:
        UserError: An error, with what to do.
    """
    full = f"{folder}: the disk is full; what fits is kept; make room or name another folder with --cache"
    try:
        yield
    except sqlite3.Error as error:
        text = str(error)
        if "full" in text:
            raise UserError(full) from None
        if "readonly" in text or "unable to open" in text:
            raise UserError(f"{folder}: no permission to write there; name another folder with --cache") from None
        if "locked" in text:
            raise UserError(f"{folder}: another program has locked the catalog; try again when it is done") from None
        if "I/O" in text:
            raise UserError(f"{folder}: cannot be read or written ({text}); is the disk full or failing?") from None
        raise UserError(f"{folder / CATALOG}: damaged ({text}); {DELETE.format(folder)}") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise UserError(full) from None
        raise UserError(f"{folder}: cannot be used ({reason(error)}); name another folder with --cache") from None


def bytes_text(count: int) -> str:
    """Format a number of bytes.

    Args:
        count: The number.

    Returns:
        For example "1.5 GB".
    """
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
