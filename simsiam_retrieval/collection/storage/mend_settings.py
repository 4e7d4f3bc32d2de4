"""Mending the settings and the list of folders in a catalog."""

import json
import re
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

from ...core.text import printable
from ...encoder.onnx_encoder import Encoder
from . import checksums, schema, sealing
from .catalog_file import ENCODER_FILE, FILE
from .finding import Finding

# settings that are worked out again, or that a later run sets
_MADE_AGAIN = {
    "noise",
    "measured",
    "index made with",
    "index seal",
    "digests seal",
    "facts seal",
    "lists seal",
    "shards seal",
    "trained",
    "training",
    "own_name",
    "regions seal",
    "regions noise",
    "regions measured",
}


def mend_settings(db: sqlite3.Connection, folder: Path) -> Iterator[Finding]:
    """Mend the table ``meta``; the transaction is the caller's.

    Args:
        db: The catalog.
        folder: The collection's folder.

    Yields:
        What was wrong, each with its repair.
    """
    file = folder / FILE
    rows = db.execute("SELECT CAST(key AS BLOB), CAST(value AS BLOB), checksum, typeof(key), typeof(value) FROM meta")
    whole: dict[str, str] = {}
    changed = []
    for key, value, checksum, *types in rows.fetchall():
        mended = checksums.mended_setting(key, value, checksum)
        if mended is None:
            changed.append((key.decode("utf-8", "replace"), value.decode("utf-8", "replace")))
            continue
        if [key, value, checksum, *types] != [*map(str.encode, mended), checksums.of_setting(*mended), "text", "text"]:
            yield Finding(file, f"the setting {mended[0]!r} had a changed bit", "put right")
        whole[mended[0]] = mended[1]
    expected = _listed(whole.get(sealing.KEYS)) or {"schema", "generation", "encoder", "dim", *whole}
    for key in sorted(expected - whole.keys() - {sealing.KEYS, sealing.LABELS_SEAL, sealing.ROOTS_SEAL}):
        read = next((value for name, value in changed if name == key), None)
        was = "is missing" if read is None else f"is damaged (it reads {printable(read[:60])!r})"
        value, repair = _worked_out(db, folder, key, whole)
        if value is not None:
            whole[key] = value
        yield Finding(file, f"the setting {key!r} {was}", repair)
    stored = {key: value for key, value, *_ in db.execute("SELECT CAST(key AS BLOB), CAST(value AS BLOB) FROM meta")}
    fits = all(sound_setting(db, key) is not None for key in whole)
    if not fits or {key.decode("utf-8", "replace") for key in stored} != whole.keys():
        db.execute("DELETE FROM meta")
        for key, value in whole.items():
            if key != sealing.KEYS:
                sealing.put(db, key, value)


def sound_setting(db: sqlite3.Connection, key: str) -> str | None:
    """Read a setting.

    Args:
        db: The catalog.
        key: Name of the setting.

    Returns:
        The value; None if it is missing or does not fit its checksum.
    """
    try:
        return sealing.noted(db, key)
    except (sqlite3.DatabaseError, ValueError):
        return None


def _listed(keys: str | None) -> set[str]:
    try:
        found = json.loads(keys or "[]")
    except ValueError:
        return set()
    return {str(key) for key in found} if isinstance(found, list) else set()


def _worked_out(db: sqlite3.Connection, folder: Path, key: str, whole: dict[str, str]) -> tuple[str | None, str]:
    """A setting from what else there is, and how it is called in the report; None where it goes."""
    if key == "schema":
        return str(schema.NEWEST), "worked out from its tables"
    if key == "generation":
        return str(_generation(db, folder)), "worked out from its images and index"
    if key in ("encoder", "dim"):
        encoder = Encoder(folder / ENCODER_FILE, device="cpu")
        return (encoder.identity if key == "encoder" else str(encoder.dim)), "taken from its encoder"
    if key == "next":  # of a sharded collection: ids are never given twice
        return str((db.execute("SELECT max(id) FROM items").fetchone()[0] or 0) + 10**6), "set past all ids"
    if key in _MADE_AGAIN:
        return None, "left out; it is made again"
    hints = {
        "index": "left out; choose the index again with --index and --recall",
        "patterns": "left out; give --include and --exclude again with the next update",
        "regions": "left out; say --regions again with the next update",
        "mounts": "left out; the next update notes the mount points again",
    }
    return None, hints.get(key, "left out")


def _generation(db: sqlite3.Connection, folder: Path) -> int:
    """The published generation: that of the index file, or of the newest images where there is none."""
    files = [int(match[1]) for file in folder.iterdir() if (match := re.fullmatch(r"index-(\d+)\.faiss", file.name))]
    newest = db.execute("SELECT max(generation) FROM items").fetchone()[0]
    return max(files) if files else newest if isinstance(newest, int) else 0


def mend_roots(db: sqlite3.Connection, folder: Path) -> Iterator[Finding]:
    """Mend the list of indexed folders; the transaction is the caller's.

    Args:
        db: The catalog.
        folder: The collection's folder.

    Yields:
        What was wrong, each with its repair.
    """
    if sound_setting(db, sealing.ROOTS_SEAL) is None:
        sealing.put(db, sealing.ROOTS_SEAL, sealing.of_roots(db))
        yield Finding(folder / FILE, "the checksum of its folders was damaged", "worked out again")
    try:
        sealing.check_roots(db)
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        stored = [path for (path,) in db.execute("SELECT CAST(path AS BLOB) FROM roots")]
        right = _roots_of_seal(db, stored)
        if right is None:
            named = printable(", ".join(path.decode("utf-8", "replace") for path in stored))
            yield Finding(folder / FILE, "the list of its folders is damaged", f"left as it reads: {named}; check it")
        else:
            db.execute("DELETE FROM roots")
            db.executemany("INSERT INTO roots VALUES (?)", [[path] for path in right])
            yield Finding(folder / FILE, "the list of its folders had a changed bit", "put right")
        sealing.put(db, sealing.ROOTS_SEAL, sealing.of_roots(db))


def _roots_of_seal(db: sqlite3.Connection, stored: list[bytes]) -> list[str | bytes] | None:
    """The roots before one bit changed."""
    try:
        sealed = bytes.fromhex(sound_setting(db, sealing.ROOTS_SEAL) or "")
    except ValueError:
        return None

    def texts(paths: Iterable[bytes]) -> list[str | bytes]:
        found: list[str | bytes] = []
        for path in paths:
            try:
                found.append(path.decode())
            except UnicodeDecodeError:
                found.append(path)
        return found

    for at, path in enumerate(stored):
        for candidate, _ in checksums.candidates(path, b""):
            roots = sorted(texts([*stored[:at], candidate, *stored[at + 1 :]]), key=_as_sqlite_sorts)
            if checksums.row_checksum(*roots) == sealed:
                return roots
    return None


def _as_sqlite_sorts(path: str | bytes) -> tuple[bool, bytes]:
    return isinstance(path, bytes), path if isinstance(path, bytes) else path.encode()
