"""Saving what can still be read of a catalog with broken pages."""

import contextlib
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...core.atomic_files import replacing, sync_folder
from ...core.errors import UserError
from ...encoder.onnx_encoder import Encoder
from . import checksums, label_copy, schema, sealing
from .catalog_file import ENCODER_FILE, FILE, open_unchecked
from .finding import Finding
from .shard_manifest import is_sharded

KEPT = "catalog.damaged.sqlite"  # what could not be read, for somebody who knows more


def rescue(folder: Path, reason: str) -> list[Finding]:
    """Make a new catalog of all that can still be read; the damaged one is kept beside it.

    Args:
        folder: The collection's folder.
        reason: SQLite's error.

    Returns:
        What was saved.

    Raises:
        UserError: It is a sharded collection, whose catalog a build makes again.
    """
    file = folder / FILE
    if is_sharded(folder):
        return _rescued_of_shards(folder, reason)
    encoder = Encoder(folder / ENCODER_FILE, device="cpu")
    with replacing(file) as temporary:
        with contextlib.closing(open_unchecked(temporary)) as new, contextlib.closing(open_unchecked(file)) as old:
            new.execute("PRAGMA journal_mode = OFF")
            with new:
                new.executescript("BEGIN;" + schema.TABLES)
                facts = _readable_settings(old)
                facts |= {"schema": str(schema.NEWEST), "encoder": encoder.identity, "dim": str(encoder.dim)}
                rows = _copy_items(old, new)
                newest = new.execute("SELECT max(generation) FROM items").fetchone()[0]
                facts["generation"] = str(max(int(facts.get("generation", "0")), newest or 0) + 1)
                for key, value in facts.items():
                    sealing.put(new, key, value)
                roots = [path for (path,) in _readable(old, "SELECT path FROM roots ORDER BY path")]
                new.executemany("INSERT OR IGNORE INTO roots VALUES (?)", [[path] for path in roots])
                sealing.put(new, sealing.ROOTS_SEAL, sealing.of_roots(new))
                labels = _readable_labels(old, new, folder)
                sealing.put_labels(new, labels)
        kept = folder / KEPT
        kept.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            kept.hardlink_to(file)
    (folder / f"{FILE}-journal").unlink(missing_ok=True)
    sync_folder(folder)
    label_copy.write(folder, labels)
    named = f"{len(labels)} labels, {rows} images and {len(roots)} folders were saved"
    again = "the next update reads the rest again" if roots else "name the folders to index again"
    return [Finding(file, f"pages of it are broken ({reason})", f"{named}; {again}")]


def _rescued_of_shards(folder: Path, reason: str) -> list[Finding]:
    """Put the catalog of a sharded collection aside: a build makes it again, of shards and the copy of the labels."""
    file = folder / FILE
    with (
        contextlib.closing(open_unchecked(file)) as old,
        contextlib.suppress(sqlite3.DatabaseError, UnicodeDecodeError),
    ):
        label_copy.write(folder, {**label_copy.read(folder), **_whole_labels(old)})
    file.replace(folder / KEPT)
    raise UserError(
        f"{folder}: its catalog is damaged ({reason}) and was put aside; its labels are kept; build it again: "
        f"python -m simsiam_retrieval.index --rebuild-index --collection {folder}"
    )


def _readable(db: sqlite3.Connection, query: str, values: Iterable[Any] = ()) -> list[tuple]:
    """The rows of a query up to the first that cannot be read."""
    found: list[tuple] = []
    with contextlib.suppress(sqlite3.DatabaseError, UnicodeDecodeError, MemoryError, OverflowError):
        for row in db.execute(query, list(values)):
            found.append(row)  # what came before an error counts
    return found


def _readable_settings(db: sqlite3.Connection) -> dict[str, str]:
    """Settings that fit their checksum; in an older schema all that are text."""
    rows = _readable(db, "SELECT key, value, checksum FROM meta")
    sealed = {str(key): value for key, value, checksum in rows if checksum == checksums.of_setting(key, value)}
    if not rows:
        sealed = {str(key): value for key, value in _readable(db, "SELECT key, value FROM meta")}
    skipped = {sealing.KEYS, sealing.LABELS_SEAL, sealing.ROOTS_SEAL, sealing.DIGESTS_SEAL}
    skipped |= {"index seal", "facts seal", "noise", "measured", "regions seal", "regions noise", "regions measured"}
    found = {key: value for key, value in sealed.items() if key not in skipped and isinstance(value, str)}
    if not found.get("generation", "0").isdecimal():
        del found["generation"]
    return found


_COLUMNS = "path, size, mtime_ns, generation, error, digest, width, height, format, taken, checksum"


def _copy_items(old: sqlite3.Connection, new: sqlite3.Connection) -> int:
    """Copy rows of images that fit their checksum, with vector and thumbnail; how many."""
    last = 0
    for query in (
        "SELECT seq FROM sqlite_sequence WHERE name = 'items'",
        "SELECT max(id) FROM items", "SELECT max(item) FROM vectors", "SELECT max(item) FROM thumbnails",
    ):  # fmt: skip
        for (value,) in _readable(old, query):
            last = max(last, value if isinstance(value, int) and value < 10**9 else 0)
    copied = 0
    for id_ in range(1, last + 1):
        try:
            row = old.execute(f"SELECT {_COLUMNS} FROM items WHERE id = ?", [id_]).fetchone()
            vector = old.execute("SELECT vector FROM vectors WHERE item = ?", [id_]).fetchone()
            thumbnail = old.execute("SELECT jpeg FROM thumbnails WHERE item = ?", [id_]).fetchone()
            if row is None or row[-1] != checksums.row_checksum(
                *row[:-1], vector and vector[0], thumbnail and thumbnail[0]
            ):
                continue
            done = new.execute(
                f"INSERT OR IGNORE INTO items (id, {_COLUMNS}) VALUES ({', '.join('?' * 12)})", [id_, *row]
            ).rowcount
        except (sqlite3.DatabaseError, UnicodeDecodeError):
            continue
        if done == 1:
            copied += 1
            if vector is not None:
                new.execute("INSERT INTO vectors VALUES (?, ?)", [id_, vector[0]])
            if thumbnail is not None:
                new.execute("INSERT INTO thumbnails VALUES (?, ?)", [id_, thumbnail[0]])
    new.execute("INSERT OR REPLACE INTO sqlite_sequence (name, seq) VALUES ('items', ?)", [last + 1])
    return copied


def _whole_labels(db: sqlite3.Connection) -> dict[bytes, str]:
    """Labels that fit their checksum, from both ends of the table; in an older schema all that make sense."""
    found: dict[bytes, str] = {}
    for order in ("ASC", "DESC"):
        rows = _readable(db, f"SELECT digest, label, checksum FROM labels ORDER BY digest {order}")
        found |= {d: label for d, label, checksum in rows if checksum == checksums.of_label(d, label)}
        if not rows:
            older = _readable(db, f"SELECT digest, label FROM labels ORDER BY digest {order}")
            found |= {d: label for d, label in older if isinstance(d, bytes) and isinstance(label, str)}
    return found


def _readable_labels(old: sqlite3.Connection, new: sqlite3.Connection, folder: Path) -> dict[bytes, str]:
    """All labels that are left: the copy, then the catalog's own by row and by the contents that were saved."""
    found = label_copy.read(folder) | _whole_labels(old)
    for (digest,) in new.execute("SELECT DISTINCT digest FROM items WHERE digest IS NOT NULL"):
        if digest not in found:
            for label, checksum in _readable(old, "SELECT label, checksum FROM labels WHERE digest = ?", [digest]):
                if checksum == checksums.of_label(digest, label):
                    found[digest] = label
    return found
