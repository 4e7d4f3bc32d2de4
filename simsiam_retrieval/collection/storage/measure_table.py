"""The measures of each image (blur, brightness, ...), in a table outside the schema.

Older versions do not need the table, and lose nothing by it. Each row has a checksum; a row that does not fit counts as
not measured. Functions that write use the caller's transaction.
"""

import sqlite3
from collections.abc import Iterable, Iterator

from ...images.measures import NUMBERS, Measures
from . import checksums
from .catalog_file import has_table

_COLUMNS = ", ".join(Measures._fields)
_TABLE = (
    "CREATE TABLE IF NOT EXISTS measures"
    " (item INTEGER PRIMARY KEY REFERENCES items ON DELETE CASCADE,"
    f" {', '.join(f'{name} REAL' for name in NUMBERS)}, mode TEXT, checksum BLOB)"
)
_INSERT = f"INSERT OR REPLACE INTO measures VALUES ({', '.join('?' * (len(Measures._fields) + 2))})"


def exists(db: sqlite3.Connection) -> bool:
    """Return whether anything was ever measured.

    Args:
        db: The connection.

    Returns:
        True if it was.
    """
    return has_table(db, "measures")


def put(db: sqlite3.Connection, measured: Iterable[tuple[int, Measures]]) -> None:
    """Store measures.

    Args:
        db: The connection.
        measured: Item ids and their measures.
    """
    db.execute(_TABLE)
    db.executemany(_INSERT, ([item, *found, _checksum(item, found)] for item, found in measured))


def copy(db: sqlite3.Connection, source: int, target: int) -> None:
    """Copy the measures of one item to another with the same content, if there are any.

    Args:
        db: The connection.
        source: Item id.
        target: Item id.
    """
    if exists(db):
        row = db.execute(f"SELECT {_COLUMNS} FROM measures WHERE item = ?", [source]).fetchone()
        if row is not None:
            put(db, [(target, Measures(*row))])


def read(db: sqlite3.Connection) -> Iterator[tuple[int, Measures]]:
    """Read all rows that fit their checksums.

    Args:
        db: The connection.

    Yields:
        Item ids, ascending, and their measures.
    """
    if exists(db):
        for item, *values, checksum in db.execute(f"SELECT item, {_COLUMNS}, checksum FROM measures ORDER BY item"):
            found = Measures(*values)
            if checksum == _checksum(item, found):
                yield item, found


def forget_damaged(db: sqlite3.Connection) -> int:
    """Delete rows that do not fit their checksums, and rows without an image.

    Args:
        db: The connection.

    Returns:
        Number of deleted rows.
    """
    if not exists(db):
        return 0
    whole = {item for item, _ in read(db)} & {item for (item,) in db.execute("SELECT id FROM items")}
    damaged = [[item] for (item,) in db.execute("SELECT item FROM measures") if item not in whole]
    db.executemany("DELETE FROM measures WHERE item = ?", damaged)
    return len(damaged)


def _checksum(item: int, measured: Measures) -> bytes:
    return checksums.row_checksum("measures", item, *measured)
