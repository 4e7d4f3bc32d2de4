"""Checksums of what a catalog stores, so that a changed bit anywhere shows; and putting one changed bit right."""

import hashlib
import sqlite3
from collections.abc import Iterator

BYTES = 8

# SQL: the checksum of a row of ``items``, as it should be
OF_ROW = (
    "row_checksum(path, size, mtime_ns, generation, error, digest, width, height, format, taken,"
    " (SELECT vector FROM vectors WHERE item = items.id), (SELECT jpeg FROM thumbnails WHERE item = items.id))"
)

Stored = str | bytes | int | float | None  # what SQLite may hold in a cell, whatever the column says


def add_function(db: sqlite3.Connection) -> None:
    """Teach a connection the function in :data:`OF_ROW`."""
    db.create_function("row_checksum", -1, row_checksum, deterministic=True)


def row_checksum(*values: Stored) -> bytes:
    """BLAKE2b of SQLite values: their types, lengths and contents."""
    digest = hashlib.blake2b(digest_size=BYTES)
    for value in values:
        content = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
        digest.update(f"{type(value).__name__} {len(content)} ".encode())
        digest.update(content)
    return digest.digest()


def of_setting(key: Stored, value: Stored) -> bytes:
    """The checksum of a row of ``meta``."""
    return row_checksum("meta", key, value)


def of_label(digest: Stored, label: Stored) -> bytes:
    """The checksum of a row of ``labels``."""
    return row_checksum("labels", digest, label)


def mended_setting(key: bytes, value: bytes, checksum: Stored) -> tuple[str, str] | None:
    """The setting that ``key`` and ``value`` were before one bit changed; None where no single bit explains it."""
    for one, other in candidates(key, value):
        try:
            texts = one.decode(), other.decode()
        except UnicodeDecodeError:
            continue
        if _fits(of_setting(*texts), checksum):
            return texts
    return None


def mended_label(digest: bytes, label: bytes, checksum: Stored) -> tuple[bytes, str] | None:
    """The label's row before one bit changed; None where no single bit explains it."""
    for one, other in candidates(digest, label):
        try:
            text = other.decode()
        except UnicodeDecodeError:
            continue
        if _fits(of_label(one, text), checksum):
            return one, text
    return None


def candidates(first: bytes, second: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The two as they are, then with one bit turned."""
    yield first, second
    whole = bytearray(first + second)
    for place in range(len(whole)):
        for bit in range(8):
            whole[place] ^= 1 << bit
            yield bytes(whole[: len(first)]), bytes(whole[len(first) :])
            whole[place] ^= 1 << bit


def _fits(expected: bytes, found: Stored) -> bool:
    """Whether two checksums are equal, but for one bit at most."""
    if not isinstance(found, bytes) or len(found) != len(expected):
        return False
    return (int.from_bytes(expected) ^ int.from_bytes(found)).bit_count() <= 1
