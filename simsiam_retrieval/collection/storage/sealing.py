"""Settings, roots and labels of a catalog with their checksums: writing, reading, detecting damage.

Each row of ``meta`` and ``labels`` has a checksum. ``meta`` also shows whether a whole row is missing: ``keys`` lists
its keys, ``labels seal`` counts the labels and combines their checksums, ``roots seal`` is a checksum of all roots.
``digests seal`` is a checksum of the digests of all usable images of a generation: labels are found by digest.
Functions that write use the caller's transaction. Damage raises ``sqlite3.DatabaseError``.
"""

import hashlib
import json
import sqlite3
from collections.abc import Mapping

from . import checksums
from .catalog_file import VISIBLE

KEYS, LABELS_SEAL, ROOTS_SEAL, DIGESTS_SEAL = "keys", "labels seal", "roots seal", "digests seal"


def noted(db: sqlite3.Connection, key: str) -> str | None:
    """Read a setting.

    Args:
        db: The connection.
        key: The key.

    Returns:
        The value, or None.

    Raises:
        DatabaseError: It is damaged or was lost.
    """
    try:
        row = db.execute("SELECT value, checksum FROM meta WHERE key = ?", [key]).fetchone()
    except sqlite3.OperationalError as error:
        if "no such column" not in str(error):
            raise
        row = db.execute("SELECT value FROM meta WHERE key = ?", [key]).fetchone()  # an older schema
        return None if row is None else row[0]
    if row is None:
        if key == KEYS or key not in json.loads(noted(db, KEYS) or "[]"):
            return None
        # another process may have stored it between these reads
        row = db.execute("SELECT value, checksum FROM meta WHERE key = ?", [key]).fetchone()
        if row is None:
            raise sqlite3.DatabaseError(f"its setting {key!r} is missing")
    if row[1] != checksums.of_setting(key, row[0]):
        raise sqlite3.DatabaseError(f"its setting {key!r} does not fit its checksum")
    return row[0]


def put(db: sqlite3.Connection, key: str, value: str) -> None:
    """Store a setting.

    Args:
        db: The connection.
        key: The key.
        value: The value.
    """
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
    """Store or remove labels.

    Args:
        db: The connection.
        changes: Digest -> label; None removes the label.
    """
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
    """Check all labels. Does nothing for an older schema.

    Args:
        db: The connection.

    Raises:
        DatabaseError: A label differs from what was stored, or is missing.
    """
    sealed = _labels_sealed(db)
    if sealed is None:
        return
    for digest, label, checksum in db.execute("SELECT digest, label, checksum FROM labels"):
        if checksum != checksums.of_label(digest, label):
            raise sqlite3.DatabaseError(f"the label {str(label)[:40]!r} does not fit its checksum")
    if sealed != _labels_found(db):
        raise sqlite3.DatabaseError("labels are missing")


def seal_labels(db: sqlite3.Connection) -> None:
    """Store the number of labels, and their combined checksum.

    Args:
        db: The connection.
    """
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


def seal_digests(db: sqlite3.Connection, generation: int) -> None:
    """Store a checksum of the digests of all usable images.

    Args:
        db: The connection.
        generation: The published generation.
    """
    value = json.dumps([generation, _of_digests(db)])
    if noted(db, DIGESTS_SEAL) != value:
        put(db, DIGESTS_SEAL, value)


def digests_fit(db: sqlite3.Connection, generation: int) -> bool:
    """Compare the digests of all usable images with their checksum.

    Args:
        db: The connection.
        generation: The published generation.

    Returns:
        False if they differ; True if an older version stored none for this generation.
    """
    sealed = json.loads(noted(db, DIGESTS_SEAL) or "[null]")
    return sealed[0] != generation or sealed[1] == _of_digests(db)


def _of_digests(db: sqlite3.Connection) -> str:
    hashed = hashlib.blake2b(digest_size=checksums.BYTES)
    for (digest,) in db.execute(f"SELECT digest FROM items WHERE {VISIBLE} ORDER BY id"):
        hashed.update(digest if isinstance(digest, bytes) else repr(digest).encode())
    return hashed.hexdigest()


def check_roots(db: sqlite3.Connection) -> None:
    """Check the roots. Does nothing for an older schema.

    Args:
        db: The connection.

    Raises:
        DatabaseError: They differ from what was stored.
    """
    sealed = noted(db, ROOTS_SEAL)
    if sealed is not None and sealed != of_roots(db):
        raise sqlite3.DatabaseError("the list of its folders does not fit its checksum")


def seal_roots(db: sqlite3.Connection) -> None:
    """Store a checksum of all roots.

    Args:
        db: The connection.
    """
    value = of_roots(db)
    if noted(db, ROOTS_SEAL) != value:
        put(db, ROOTS_SEAL, value)


def of_roots(db: sqlite3.Connection) -> str:
    """Compute the checksum of all stored roots.

    Args:
        db: The connection.

    Returns:
        Hexadecimal digits.
    """
    return checksums.row_checksum(*(path for (path,) in db.execute("SELECT path FROM roots ORDER BY path"))).hex()


def seal(db: sqlite3.Connection) -> None:
    """Compute and store the checksums of all settings, labels and roots.

    Args:
        db: The connection.
    """
    for digest, label in db.execute("SELECT digest, label FROM labels").fetchall():
        db.execute("UPDATE labels SET checksum = ? WHERE digest = ?", [checksums.of_label(digest, label), digest])
    for key, value in db.execute("SELECT key, value FROM meta").fetchall():
        put(db, key, value)
    seal_labels(db)
    put(db, ROOTS_SEAL, of_roots(db))
