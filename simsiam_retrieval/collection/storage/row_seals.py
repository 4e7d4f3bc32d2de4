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
    """The checksum of :data:`FACTS`."""
    return int.from_bytes(checksums.row_checksum(*facts))


def of_bytes(contents: Iterable[bytes | memoryview]) -> NDArray[np.uint32]:
    """CRC-32 of each, (n,)."""
    return np.fromiter(map(zlib.crc32, contents), np.uint32)


def of_vectors(vectors: NDArray[np.float16]) -> NDArray[np.uint32]:
    """CRC-32 of each of ``vectors`` (n, dim) as they are stored, (n,)."""
    rows = np.ascontiguousarray(vectors, "<f2")
    return of_bytes(memoryview(row) for row in rows.view(np.uint8))


def put(db: sqlite3.Connection, first: int, facts: Sequence[int], values: NDArray[np.uint32]) -> None:
    """Store the seals of a row group: ``facts`` (n) and the ``values`` (n, 2) of vectors and thumbnails."""
    db.execute("INSERT OR REPLACE INTO row_seals VALUES (?, ?)", [first, packed(facts, values)])


def packed(facts: Sequence[int], values: NDArray[np.uint32]) -> bytes:
    """The seals of a row group as they are stored."""
    seals = np.zeros(len(facts), _ROW)
    seals["facts"] = np.array(facts, np.uint64)
    seals["vector"], seals["thumbnail"] = values[:, 0], values[:, 1]
    return seals.tobytes()


def read(db: sqlite3.Connection, first: int, rows: int) -> NDArray[np.void] | None:
    """The seals of a row group of so many rows, fields ``facts``, ``vector`` and ``thumbnail``; None without any.

    Raises ``sqlite3.DatabaseError`` where there are more or fewer of them.
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
