"""Checksums of a sharded collection's rows: of what the catalog says of an image, of its vector and its thumbnail.

Shards are read without Parquet's reader, which would compare its own checksums; and the catalog's rows are a copy of
theirs. So each row has three checksums, those of a row group together in one row of ``row_seals``. The table is made by
the build that needs it: collections from before go without until their next build or ``--verify``.
"""

import sqlite3
import zlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from . import checksums

TABLE = "CREATE TABLE IF NOT EXISTS row_seals (first INTEGER PRIMARY KEY, seals BLOB NOT NULL)"
# SQL: what a row of ``items`` says, as :func:`of_facts` takes it
FACTS = "id, path, size, mtime_ns, error, digest, width, height, format, taken"

_ROW = np.dtype([("facts", "<u8"), ("vector", "<u4"), ("thumbnail", "<u4")])


def of_facts(facts: Sequence[checksums.Stored]) -> int:
    """Compute the checksum of a row's facts.

    Args:
        facts: The values of ``FACTS``.

    Returns:
        32 bits.
    """
    return int.from_bytes(checksums.row_checksum(*facts))


def of_bytes(contents: Iterable[bytes | memoryview]) -> NDArray[np.uint32]:
    """Compute the CRC-32 of each content.

    Args:
        contents: n contents.

    Returns:
        uint32 (n,).
    """
    return np.fromiter(map(zlib.crc32, contents), np.uint32)


def of_vectors(vectors: NDArray[np.float16]) -> NDArray[np.uint32]:
    """Compute the CRC-32 of each vector as it is stored.

    Args:
        vectors: float16 (n, dim).

    Returns:
        uint32 (n,).
    """
    rows = np.ascontiguousarray(vectors, "<f2")
    return of_bytes(memoryview(row) for row in rows.view(np.uint8))


def put(db: sqlite3.Connection, first: int, facts: Sequence[int], values: NDArray[np.uint32]) -> None:
    """Store the checksums of a row group.

    Args:
        db: The catalog.
        first: Id of its first row.
        facts: Checksum of each row's facts.
        values: Checksums of each row's vector and thumbnail, uint32 (n, 2).
    """
    db.execute("INSERT OR REPLACE INTO row_seals VALUES (?, ?)", [first, packed(facts, values)])


def packed(facts: Sequence[int], values: NDArray[np.uint32]) -> bytes:
    """Return the checksums of a row group as they are stored.

    Args:
        facts: Checksum of each row's facts.
        values: Checksums of each row's vector and thumbnail, uint32 (n, 2).

    Returns:
        The bytes.
    """
    seals = np.zeros(len(facts), _ROW)
    seals["facts"] = np.array(facts, np.uint64)
    seals["vector"], seals["thumbnail"] = values[:, 0], values[:, 1]
    return seals.tobytes()


def read(db: sqlite3.Connection, first: int, rows: int) -> NDArray[np.void] | None:
    """Read the checksums of a row group.

    Args:
        db: The catalog.
        first: Id of its first row.
        rows: Number of its rows.

    Returns:
        (rows,), with the fields ``facts``, ``vector`` and ``thumbnail``; None if there are none.

    Raises:
        DatabaseError: There are more or fewer of them.
    """
    try:
        row = db.execute("SELECT seals FROM row_seals WHERE first = ?", [first]).fetchone()
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):
            raise
        return None
    if row is None:
        return None
    if not isinstance(row[0], bytes) or len(row[0]) != rows * _ROW.itemsize:
        raise sqlite3.DatabaseError("the checksums of some rows have the wrong length")
    return np.frombuffer(row[0], _ROW)
