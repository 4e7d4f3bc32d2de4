"""Checksums of everything in a catalog, so that one changed bit is found; and repairing one changed bit."""

import hashlib
import sqlite3
from collections.abc import Iterator

BYTES = 8

# SQL: the correct checksum of a row of ``items``
OF_ROW = (
    "row_checksum(path, size, mtime_ns, generation, error, digest, width, height, format, taken,"
    " (SELECT vector FROM vectors WHERE item = items.id), (SELECT jpeg FROM thumbnails WHERE item = items.id))"
)
SEAL = f"UPDATE items SET checksum = {OF_ROW}"

Stored = str | bytes | int | float | None  # values that SQLite can store in any column


def add_function(db: sqlite3.Connection) -> None:
    """Register the SQL function of ``OF_ROW``.

    Args:
        db: The connection.
    """
    db.create_function("row_checksum", -1, row_checksum, deterministic=True)


def row_checksum(*values: Stored) -> bytes:
    """Compute BLAKE2b of SQLite values: their types, lengths and contents.

    Args:
        *values: The values.

    Returns:
        8 bytes.
    """
    parts = []
    for value in values:
        content = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
        parts += f"{type(value).__name__} {len(content)} ".encode(), content
    return hashlib.blake2b(b"".join(parts), digest_size=BYTES).digest()  # one call for all: there are 24 parts in a row


def of_setting(key: Stored, value: Stored) -> bytes:
    """Compute the checksum of a row of ``meta``.

    Args:
        key: The key.
        value: The value.

    Returns:
        8 bytes.
    """
    return row_checksum("meta", key, value)


def of_label(digest: Stored, label: Stored) -> bytes:
    """Compute the checksum of a row of ``labels``.

    Args:
        digest: Digest of the content.
        label: The label.

    Returns:
        8 bytes.
    """
    return row_checksum("labels", digest, label)


def mended_setting(key: bytes, value: bytes, checksum: Stored) -> tuple[str, str] | None:
    """Repair a setting with one changed bit.

    Args:
        key: The stored key.
        value: The stored value.
        checksum: The stored checksum.

    Returns:
        The original key and value; None if no single bit explains the damage.
    """
    for one, other in candidates(key, value):
        try:
            texts = one.decode(), other.decode()
        except UnicodeDecodeError:
            continue
        if _fits(of_setting(*texts), checksum):
            return texts
    return None


def mended_label(digest: bytes, label: bytes, checksum: Stored) -> tuple[bytes, str] | None:
    """Repair a label with one changed bit.

    Args:
        digest: The stored digest.
        label: The stored label.
        checksum: The stored checksum.

    Returns:
        The original digest and label; None if no single bit explains the damage.
    """
    for one, other in candidates(digest, label):
        try:
            text = other.decode()
        except UnicodeDecodeError:
            continue
        if _fits(of_label(one, text), checksum):
            return one, text
    return None


def candidates(first: bytes, second: bytes) -> Iterator[tuple[bytes, bytes]]:
    """List all possible originals of two values: unchanged, then with one bit flipped.

    Args:
        first: The first value.
        second: The second value.

    Yields:
        Both values.
    """
    yield first, second
    whole = bytearray(first + second)
    for place in range(len(whole)):
        for bit in range(8):
            whole[place] ^= 1 << bit
            yield bytes(whole[: len(first)]), bytes(whole[len(first) :])
            whole[place] ^= 1 << bit


def _fits(expected: bytes, found: Stored) -> bool:
    """Whether two checksums are equal, except for at most one bit."""
    if not isinstance(found, bytes) or len(found) != len(expected):
        return False
    return (int.from_bytes(expected) ^ int.from_bytes(found)).bit_count() <= 1
