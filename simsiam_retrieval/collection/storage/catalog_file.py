"""The file ``catalog.sqlite``: opening it, paths in it, and its errors in words."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...core.errors import UserError
from . import checksums

FILE = "catalog.sqlite"
ENCODER_FILE = "encoder.onnx"  # beside it
LOCK_SECONDS = 60  # a commit waits this long for readers to finish, and they for it

# conditions on rows of items: part of the published state, and with a usable image
PUBLISHED = "generation <= (SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'generation')"
VISIBLE = f"error IS NULL AND {PUBLISHED}"


def has_table(db: sqlite3.Connection, name: str) -> bool:
    """Return whether a catalog has a table: older ones lack some.

    Args:
        db: The connection.
        name: Name of the table.

    Returns:
        True if it has.
    """
    return bool(db.execute("SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = ?)", [name]).fetchone()[0])


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn SQLite's errors into one line for the user.

    Args:
        folder: The collection's folder.

    Yields:
        None.

    Raises:
        UserError: SQLite raised an error within.
    """
    try:
        yield
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # the latter of text that is none any more
        text = str(error)
        if "full" in text or "disk I/O" in text:
            raise UserError(
                f"{folder}: the disk is full or fails ({text}); nothing that was committed is lost; "
                "make room, run again"
            ) from None
        if "readonly" in text or "unable to open" in text:
            if (folder / f"{FILE}-journal").exists():
                raise UserError(
                    f"{folder}: an update was interrupted, and undoing its last step needs permission to write there; "
                    "run any command as somebody who may, or copy the whole folder and use the copy"
                ) from None
            raise UserError(f"{folder}: no permission to write there") from None
        if "locked" in text:
            raise UserError(f"{folder}: another program holds the catalog; try again when it is done") from None
        raise UserError(
            f"{folder / FILE}: damaged ({text}); mend it: "
            f"python -m simsiam_retrieval.index --verify --collection {folder}"
        ) from None


def connect(folder: Path) -> sqlite3.Connection:
    """Open the catalog of a collection.

    Args:
        folder: The collection's folder.

    Returns:
        The connection.
    """
    # SQLite's rollback journal, not WAL: readers then need no permission to write, nor files beside the catalog
    connection = sqlite3.connect(folder / FILE, timeout=LOCK_SECONDS, check_same_thread=False)
    connection.execute("PRAGMA foreign_keys = ON")
    checksums.add_function(connection)
    return connection


def stored_path(path: Path) -> str | bytes:
    """Convert a path to what the catalog stores.

    Args:
        path: The path.

    Returns:
        Text; bytes for a name that is not UTF-8.
    """
    raw = os.fsencode(path)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def path_of(stored: str | bytes) -> Path:
    """Convert what the catalog stores to a path.

    Args:
        stored: Text or bytes.

    Returns:
        The path.

    Raises:
        DatabaseError: It is neither.
    """
    if not isinstance(stored, str | bytes):
        raise sqlite3.DatabaseError("a stored path is no text")
    # through bytes: in a locale that is not UTF-8 Python's names are not the stored text
    return Path(os.fsdecode(stored.encode() if isinstance(stored, str) else stored))


def folder_of(stored: str | bytes) -> str | bytes:
    """Cut the last part off a stored path, without a path object: those of 100,000 images take a second.

    Args:
        stored: Text or bytes.

    Returns:
        What is stored of its folder, with the separator at the end.

    Raises:
        DatabaseError: It is neither text nor bytes.
    """
    if isinstance(stored, str):
        return stored[: stored.rfind(os.sep) + 1]
    if isinstance(stored, bytes):
        return stored[: stored.rfind(os.fsencode(os.sep)) + 1]
    raise sqlite3.DatabaseError("a stored path is no text")


def open_unchecked(file: Path) -> sqlite3.Connection:
    """Open a catalog without a look at its schema and checksums.

    Args:
        file: The file.

    Returns:
        The connection.
    """
    db = sqlite3.connect(file, timeout=LOCK_SECONDS)
    checksums.add_function(db)
    return db
