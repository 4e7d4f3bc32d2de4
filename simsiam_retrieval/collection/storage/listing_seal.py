"""One checksum of all facts that lists show of images, because a list is too long to check row by row.

The checksum of a row covers its vector and thumbnail, so comparing it reads both. A search does that for the rows that
it shows. Lists, status and duplicates compare ``facts seal`` instead: a checksum of the facts of all rows of a
generation. An update compares it before it stores a new one, so that damage is found and not sealed.
Functions that write use the caller's transaction.
"""

import hashlib
import json
import sqlite3
from pathlib import Path

from . import checksums, sealing
from .catalog_file import PUBLISHED, path_of

KEY = "facts seal"
BATCH = 1000  # rows hashed at a time; part of the format
DAMAGED = ""  # in place of a checksum: rows that are damaged are left

_FACTS = "id, path, size, mtime_ns, generation, error, digest, width, height, format, taken"


def put(db: sqlite3.Connection, generation: int, *, sound: bool = True) -> None:
    """Store the checksum.

    Args:
        db: The connection.
        generation: The published generation.
        sound: False if damaged rows are left: then no list passes until they are mended.
    """
    value = json.dumps([generation, _computed(db) if sound else DAMAGED])
    if sealing.noted(db, KEY) != value:
        sealing.put(db, KEY, value)


def fits(db: sqlite3.Connection, generation: int) -> bool | None:
    """Compare the facts of all published rows with their checksum.

    Args:
        db: The connection.
        generation: The published generation.

    Returns:
        None if there is none for this generation: an older version wrote it.
    """
    sealed = json.loads(sealing.noted(db, KEY) or "[null, null]")
    return None if sealed[0] != generation else sealed[1] == _computed(db)


def damaged_rows(db: sqlite3.Connection, fitting: bool | None, *, pending: bool) -> dict[int, Path]:
    """Find the rows that do not fit their own checksums.

    Args:
        db: The connection.
        fitting: What ``fits`` found. The published rows are compared unless it is True; if it is False, a row without a
            checksum counts as damaged.
        pending: Whether to compare the rows that an interrupted update left, too.

    Returns:
        Row id -> path.
    """
    differs = f"checksum {'<>' if fitting is None else 'IS NOT'} {checksums.OF_ROW}"
    found: dict[int, Path] = {}
    for wanted, condition in ((fitting is not True, PUBLISHED), (pending, f"NOT {PUBLISHED}")):
        if wanted:
            rows = db.execute(f"SELECT id, path FROM items WHERE {condition} AND {differs}")
            found |= {id_: path_of(path) for id_, path in rows}
    return found


def _computed(db: sqlite3.Connection) -> str:
    hashed = hashlib.blake2b(digest_size=checksums.BYTES)
    rows = db.execute(f"SELECT {_FACTS} FROM items WHERE {PUBLISHED} ORDER BY id")
    while batch := rows.fetchmany(BATCH):
        hashed.update(ascii(batch).encode())
    return hashed.hexdigest()
