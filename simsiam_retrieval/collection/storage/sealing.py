"""Settings, roots and labels of a catalog with their checksums: writing them, reading them, noticing damage.

Each row of ``meta`` and ``labels`` has a checksum. That a whole row is missing shows in ``meta``, too: ``keys`` lists
its keys, ``labels seal`` counts the labels and combines their checksums, ``roots seal`` is a checksum of all roots.
Functions that write go into the caller's transaction. Damage is raised as ``sqlite3.DatabaseError``.
"""

import json
import sqlite3
from collections.abc import Mapping

from . import checksums

KEYS, LABELS_SEAL, ROOTS_SEAL = "keys", "labels seal", "roots seal"


def noted(db: sqlite3.Connection, key: str) -> str | None:
    """The value of a setting, or None; raises ``DatabaseError`` where it is damaged or was lost."""
    try:
        row = db.execute("SELECT value, checksum FROM meta WHERE key = ?", [key]).fetchone()
    except sqlite3.OperationalError as error:
        if "no such column" not in str(error):
            raise
        row = db.execute("SELECT value FROM meta WHERE key = ?", [key]).fetchone()  # an older schema
        return None if row is None else row[0]
    if row is None:
        if key != KEYS and key in json.loads(noted(db, KEYS) or "[]"):
            raise sqlite3.DatabaseError(f"its setting {key!r} is missing")
        return None
    if row[1] != checksums.of_setting(key, row[0]):
        raise sqlite3.DatabaseError(f"its setting {key!r} does not fit its checksum")
    return row[0]


def put(db: sqlite3.Connection, key: str, value: str) -> None:
    """Store a setting."""
    _put(db, key, value)
    keys = sorted(str(key) for (key,) in db.execute("SELECT key FROM meta"))
    if KEYS not in keys:
        keys = sorted([*keys, KEYS])
    listed = json.dumps(keys)
    row = db.execute("SELECT value FROM meta WHERE key = ?", [KEYS]).fetchone()
    if row is None or row[0] != listed:
        _put(db, KEYS, listed)


def _put(db: sqlite3.Connection, key: str, value: str) -> None:
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?, ?)", [key, value, checksums.of_setting(key, value)])


def put_labels(db: sqlite3.Connection, changes: Mapping[bytes, str | None]) -> None:
    """Label contents by their digest, or take their labels away (None)."""
    count, combined = _labels_sealed(db) or _labels_found(db)
    for digest, label in changes.items():
        row = db.execute("SELECT checksum FROM labels WHERE digest = ?", [digest]).fetchone()
        if row is not None:
            db.execute("DELETE FROM labels WHERE digest = ?", [digest])
            count, combined = count - 1, combined ^ int.from_bytes(row[0])
        if label is not None:
            checksum = checksums.of_label(digest, label)
            db.execute("INSERT INTO labels VALUES (?, ?, ?)", [digest, label, checksum])
            count, combined = count + 1, combined ^ int.from_bytes(checksum)
    put(db, LABELS_SEAL, json.dumps([count, combined]))


def check_labels(db: sqlite3.Connection) -> None:
    """Raise ``DatabaseError`` where a label is not what was stored, or one is missing; nothing in an older schema."""
    sealed = _labels_sealed(db)
    if sealed is None:
        return
    for digest, label, checksum in db.execute("SELECT digest, label, checksum FROM labels"):
        if checksum != checksums.of_label(digest, label):
            raise sqlite3.DatabaseError(f"the label {str(label)[:40]!r} does not fit its checksum")
    if sealed != _labels_found(db):
        raise sqlite3.DatabaseError("labels are missing")


def seal_labels(db: sqlite3.Connection) -> None:
    """Note how many labels there are, and their checksums combined."""
    put(db, LABELS_SEAL, json.dumps(_labels_found(db)))


def _labels_found(db: sqlite3.Connection) -> tuple[int, int]:
    count = combined = 0
    for (checksum,) in db.execute("SELECT checksum FROM labels"):
        count, combined = count + 1, combined ^ int.from_bytes(checksum)
    return count, combined


def _labels_sealed(db: sqlite3.Connection) -> tuple[int, int] | None:
    value = noted(db, LABELS_SEAL)
    if value is None:
        return None
    count, combined = json.loads(value)
    return count, combined


def check_roots(db: sqlite3.Connection) -> None:
    """Raise ``DatabaseError`` where the roots are not those that were stored; nothing in an older schema."""
    sealed = noted(db, ROOTS_SEAL)
    if sealed is not None and sealed != of_roots(db):
        raise sqlite3.DatabaseError("the list of its folders does not fit its checksum")


def seal_roots(db: sqlite3.Connection) -> None:
    """Note a checksum of all roots."""
    value = of_roots(db)
    if noted(db, ROOTS_SEAL) != value:
        put(db, ROOTS_SEAL, value)


def of_roots(db: sqlite3.Connection) -> str:
    """The checksum of all roots as they are stored."""
    return checksums.row_checksum(*(path for (path,) in db.execute("SELECT path FROM roots ORDER BY path"))).hex()


def seal(db: sqlite3.Connection) -> None:
    """Give all settings, labels and roots checksums of what they hold now."""
    for digest, label in db.execute("SELECT digest, label FROM labels").fetchall():
        db.execute("UPDATE labels SET checksum = ? WHERE digest = ?", [checksums.of_label(digest, label), digest])
    for key, value in db.execute("SELECT key, value FROM meta").fetchall():
        put(db, key, value)
    seal_labels(db)
    put(db, ROOTS_SEAL, of_roots(db))
