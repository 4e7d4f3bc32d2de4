"""A checksum of all that a catalog stores of a file, so that a changed bit anywhere shows."""

import hashlib
import sqlite3

BYTES = 8

# SQL: the checksum of a row of ``items``, as it should be
OF_ROW = (
    "row_checksum(path, size, mtime_ns, generation, error, digest, width, height, format, taken,"
    " (SELECT vector FROM vectors WHERE item = items.id), (SELECT jpeg FROM thumbnails WHERE item = items.id))"
)


def add_function(db: sqlite3.Connection) -> None:
    """Teach a connection the function in :data:`OF_ROW`."""
    db.create_function("row_checksum", -1, row_checksum, deterministic=True)


def row_checksum(*values: str | bytes | int | float | None) -> bytes:
    """BLAKE2b of SQLite values: their types, lengths and contents."""
    digest = hashlib.blake2b(digest_size=BYTES)
    for value in values:
        content = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
        digest.update(f"{type(value).__name__} {len(content)} ".encode())
        digest.update(content)
    return digest.digest()
