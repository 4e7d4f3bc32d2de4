"""The regions of each picture: their boxes and vectors, in a table outside the schema.

Older versions do not need the table, and lose nothing by it. Each row has a checksum; a row that does not fit counts as
missing, and the next update makes it again. Functions that write use the caller's transaction.
"""

import sqlite3
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from ..types import Regions
from . import checksums
from .catalog_file import VISIBLE, has_table

_TABLE = (
    "CREATE TABLE IF NOT EXISTS regions"
    " (item INTEGER PRIMARY KEY REFERENCES items ON DELETE CASCADE,"
    " boxes BLOB NOT NULL,"  # float32 (m, 4)
    " vectors BLOB NOT NULL,"  # float16 (m, dim)
    " checksum BLOB NOT NULL)"
)
# small, so that what counts regions need not read the pages of their vectors
_SIZES = "regions_sizes"
_INDEX = f"CREATE INDEX IF NOT EXISTS {_SIZES} ON regions (item, length(boxes))"
_COLUMNS = "item, boxes, vectors, checksum"


def exists(db: sqlite3.Connection) -> bool:
    """Return whether regions were ever stored.

    Args:
        db: The connection.

    Returns:
        True if they were.
    """
    return has_table(db, "regions")


def put(db: sqlite3.Connection, found: Iterable[tuple[int, Regions]]) -> None:
    """Store regions.

    Args:
        db: The connection.
        found: Item ids and their regions.
    """
    db.execute(_TABLE)
    db.execute(_INDEX)
    for item, regions in found:
        boxes = np.ascontiguousarray(regions.boxes, "<f4").tobytes()
        vectors = np.ascontiguousarray(regions.vectors, "<f2").tobytes()
        row = [item, boxes, vectors, checksums.row_checksum("regions", item, boxes, vectors)]
        db.execute("INSERT OR REPLACE INTO regions VALUES (?, ?, ?, ?)", row)


def copy(db: sqlite3.Connection, source: int, target: int) -> None:
    """Copy the regions of one item to another with the same content, if there are any that are whole.

    Args:
        db: The connection.
        source: Item id.
        target: Item id.
    """
    if not exists(db):
        return
    row = db.execute(f"SELECT {_COLUMNS} FROM regions WHERE item = ?", [source]).fetchone()
    if row is not None and _fits(row):
        checksum = checksums.row_checksum("regions", target, *row[1:3])
        db.execute("INSERT OR REPLACE INTO regions VALUES (?, ?, ?, ?)", [target, *row[1:3], checksum])


def read(db: sqlite3.Connection, dim: int, items: Iterable[int] | None = None) -> Iterator[tuple[int, Regions]]:
    """Read the rows of usable images that are whole.

    Args:
        db: The connection.
        dim: Values per vector.
        items: Item ids; None for all.

    Yields:
        Item ids, ascending or as given, and their regions.
    """
    if not exists(db):
        return
    query = f"SELECT {_COLUMNS.replace('checksum', 'regions.checksum')} FROM regions JOIN items ON id = item"
    if items is None:
        rows: Iterable[tuple] = db.execute(f"{query} WHERE {VISIBLE} ORDER BY item")
    else:
        one = f"{query} WHERE item = ? AND {VISIBLE}"
        rows = (row for item in items for row in db.execute(one, [item]))
    for row in rows:
        if _fits(row) and (found := _parsed(row, dim)) is not None:
            yield row[0], found


def sizes(db: sqlite3.Connection) -> Iterator[tuple[int, int]]:
    """Count the regions of each usable image, without reading their vectors.

    Args:
        db: The connection.

    Yields:
        Item ids, ascending, and numbers of regions.
    """
    if exists(db):
        of_items = f"{_counted(db)} JOIN items ON id = item WHERE {VISIBLE}"
        query = f"SELECT item, length(boxes) / 16 FROM {of_items} ORDER BY item"
        yield from db.execute(query)


def missing(db: sqlite3.Connection) -> list[int]:
    """Find usable images whose regions are not stored.

    Args:
        db: The connection.

    Returns:
        Item ids, ascending.
    """
    without = "" if not exists(db) else f" AND NOT EXISTS (SELECT 1 FROM {_counted(db)} WHERE item = items.id)"
    return [id_ for (id_,) in db.execute(f"SELECT id FROM items WHERE {VISIBLE}{without} ORDER BY id")]


def count(db: sqlite3.Connection) -> int:
    """Count the usable images whose regions are stored.

    Args:
        db: The connection.

    Returns:
        The number.
    """
    if not exists(db):
        return 0
    return db.execute(f"SELECT count(*) FROM {_counted(db)} JOIN items ON id = item WHERE {VISIBLE}").fetchone()[0]


def forget(db: sqlite3.Connection) -> None:
    """Delete all regions.

    Args:
        db: The connection.
    """
    db.execute("DROP TABLE IF EXISTS regions")


def forget_damaged(db: sqlite3.Connection) -> int:
    """Delete rows that do not fit their checksums, and rows without an image.

    Args:
        db: The connection.

    Returns:
        Number of deleted rows.
    """
    if not exists(db):
        return 0
    known = {item for (item,) in db.execute("SELECT id FROM items")}
    rows = db.execute(f"SELECT {_COLUMNS} FROM regions")
    damaged = [[row[0]] for row in rows if row[0] not in known or not _fits(row)]
    db.executemany("DELETE FROM regions WHERE item = ?", damaged)
    return len(damaged)


def _counted(db: sqlite3.Connection) -> str:
    """The table, read by its small index if there is one."""
    return f"regions INDEXED BY {_SIZES}" if has_table(db, _SIZES) else "regions"


def _fits(row: tuple) -> bool:
    return row[3] == checksums.row_checksum("regions", *row[:3])


def _parsed(row: tuple[int, bytes, bytes, bytes], dim: int) -> Regions | None:
    boxes: NDArray[np.float32] = np.frombuffer(row[1], "<f4").reshape(-1, 4)
    vectors: NDArray[np.float16] = np.frombuffer(row[2], "<f2")
    return Regions(boxes, vectors.reshape(len(boxes), dim)) if vectors.size == len(boxes) * dim else None
