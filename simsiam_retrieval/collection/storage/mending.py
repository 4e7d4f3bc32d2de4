"""Putting a damaged catalog right: its settings and labels, SQLite's own indexes, and what is left of broken pages.

In this order of trust: a row that fits its checksum; a row that does when one bit is turned back; the copy of the
labels; what can be worked out again; a default, which is named.
"""

import contextlib
import os
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

from ...core.errors import UserError
from . import measure_table, region_table
from .catalog_file import FILE, open_unchecked
from .finding import Finding
from .mend_labels import mend_labels
from .mend_settings import mend_roots, mend_settings
from .parquet_store import ParquetStore
from .rescue import rescue
from .shard_manifest import is_sharded, mend_manifest
from .writer_lock import writing

# complaints of integrity_check that are about an index only
_OF_INDEX = re.compile(r"missing from index|wrong # of entries in index|non-unique entry in index|Tree \d+.*index")


def mend(folder: Path, on_wait: Callable[[str], None] | None = None) -> list[Finding]:
    """Put right what keeps a catalog from being read; what is in order is not touched.

    The rows of images are compared with their checksums elsewhere (``Collection.verify``). Only rows on broken pages
    are given up here; the next update reads these files again.

    Args:
        folder: The collection's folder.
        on_wait: Called with a message before waiting for another process; None: raise an error instead.

    Returns:
        What was wrong, each with its repair.

    Raises:
        UserError: Nothing can be read, or another process is writing.
    """
    if not (folder / FILE).is_file():
        return []
    with writing(folder, on_wait):
        manifest = mend_manifest(folder)
        try:
            found = manifest + _mended(folder)
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            text = str(error)
            if "full" in text or "readonly" in text or "locked" in text or "disk I/O" in text:
                raise UserError(f"{folder}: cannot be mended now ({text}); make room, or see who uses it") from None
            found = rescue(folder, text)
        except OSError as error:
            raise UserError(f"{folder}: cannot be mended now ({error.strerror})") from None
        return found


def _mended(folder: Path) -> list[Finding]:
    with contextlib.closing(open_unchecked(folder / FILE)) as db:
        complaints = [text for (text,) in db.execute("PRAGMA integrity_check") if text != "ok"]
        found: list[Finding] = []
        if complaints:
            if not all(_OF_INDEX.search(complaint) for complaint in complaints):
                raise sqlite3.DatabaseError(complaints[0])
            with db:
                db.execute("REINDEX")
            left = [text for (text,) in db.execute("PRAGMA integrity_check") if text != "ok"]
            if left:
                raise sqlite3.DatabaseError(left[0])
            found.append(Finding(folder / FILE, "one of SQLite's own indexes was damaged", "built again; nothing lost"))
        if not is_sharded(folder):
            found += _unreadable_rows(db)
        for table in () if is_sharded(folder) else ("vectors", "thumbnails"):
            with db:
                stray = db.execute(f"DELETE FROM {table} WHERE item NOT IN (SELECT id FROM items)").rowcount
            if stray:
                found.append(Finding(folder / FILE, f"{stray} {table} belonged to no image", "removed"))
        with db:
            forgotten = measure_table.forget_damaged(db)
        if forgotten:
            named = f"what was measured of {forgotten} images was damaged"
            found.append(Finding(folder / FILE, named, "forgotten; measure again: simsiam-retrieval check --measure"))
        with db:
            forgotten = region_table.forget_damaged(db)
        if forgotten:
            named = f"the regions of {forgotten} images were damaged"
            found.append(Finding(folder / FILE, named, "forgotten; the next update makes them again"))
        if not _has(db, "meta", "checksum"):
            return found  # of an older version: nothing to compare with
        with db:
            db.execute("BEGIN IMMEDIATE")
            found += [*mend_settings(db, folder), *mend_roots(db, folder), *mend_labels(db, folder)]
        if is_sharded(folder):
            ParquetStore(folder, db).check_shards()
        return found


def _unreadable_rows(db: sqlite3.Connection) -> list[Finding]:
    """Forget rows that cannot even be compared with their checksums: text that is not UTF-8, a path that is no text."""
    columns = [row[1] for row in db.execute("PRAGMA table_info(items)")]
    texts = ", ".join(f"CASE typeof({column}) WHEN 'text' THEN CAST({column} AS BLOB) END" for column in columns)
    found: dict[int, bytes] = {}
    for id_, path, kind, *stored in db.execute(f"SELECT id, CAST(path AS BLOB), typeof(path), {texts} FROM items"):
        as_written = "text" if _is_text(path) else "blob"
        if kind != as_written or not all(text is None or _is_text(text) for text in stored):
            found[id_] = path
    for table, column in (("vectors", "vector"), ("thumbnails", "jpeg")):
        query = f"SELECT id, CAST(path AS BLOB), CAST({column} AS BLOB) FROM {table} JOIN items ON id = item"
        rows = db.execute(f"{query} WHERE typeof({column}) = 'text'")
        found |= {id_: path for id_, path, text in rows if not _is_text(text)}
    if found:
        db.execute("PRAGMA foreign_keys = ON")  # vectors and the like go with them
        with db:
            db.executemany("DELETE FROM items WHERE id = ?", [[id_] for id_ in found])
        db.execute("PRAGMA foreign_keys = OFF")
    repair = "forgotten; the next update reads it again"
    named = (Path(os.fsdecode(path)) for path in found.values())
    return [Finding(path, "what is stored of it cannot be read", repair) for path in named]


def _is_text(stored: bytes) -> bool:
    try:
        stored.decode()
    except UnicodeDecodeError:
        return False
    return True


def _has(db: sqlite3.Connection, table: str, column: str) -> bool:
    return any(row[1] == column for row in db.execute(f"PRAGMA table_info({table})"))


# -- rows with checksums of their own


# -- broken pages
