"""Putting a damaged catalog right: its settings and labels, SQLite's own indexes, and what is left of broken pages.

In this order of trust: a row that fits its checksum; a row that does when one bit is turned back; the copy of the
labels; what can be worked out again; a default, which is named.
"""

import contextlib
import json
import os
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ...core.atomic_files import replacing, sync_folder
from ...core.errors import UserError
from ...core.text import printable
from ...encoder.onnx_encoder import Encoder
from . import checksums, label_copy, measure_table, schema, sealing
from .catalog_file import FILE, LOCK_SECONDS
from .finding import Finding
from .parquet_store import ParquetStore
from .shard_manifest import is_sharded, mend_manifest
from .writer_lock import writing

KEPT = "catalog.damaged.sqlite"  # what could not be read, for somebody who knows more
ENCODER_FILE = "encoder.onnx"

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
}
# complaints of integrity_check that are about an index only
_OF_INDEX = re.compile(r"missing from index|wrong # of entries in index|non-unique entry in index|Tree \d+.*index")


def mend(folder: Path, on_wait: Callable[[str], None] | None = None) -> list[Finding]:
    """Put right what keeps the catalog in ``folder`` from being read; what is in order is not touched.

    Returns what was wrong, each with its repair. The rows of images are compared with their checksums elsewhere
    (``Collection.verify``); only rows on broken pages are given up here, and read again by the next update.

    Raises ``UserError`` where nothing can be read, or another process is writing.
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
            found = _rescued(folder, text)
        except OSError as error:
            raise UserError(f"{folder}: cannot be mended now ({error.strerror})") from None
        return found


def _mended(folder: Path) -> list[Finding]:
    with contextlib.closing(_open(folder / FILE)) as db:
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
        if not _has(db, "meta", "checksum"):
            return found  # of an older version: nothing to compare with
        with db:
            db.execute("BEGIN IMMEDIATE")
            found += [*_settings(db, folder), *_roots(db, folder), *_labels(db, folder)]
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


def _open(file: Path) -> sqlite3.Connection:
    db = sqlite3.connect(file, timeout=LOCK_SECONDS)
    checksums.add_function(db)
    return db


# -- rows with checksums of their own


def _settings(db: sqlite3.Connection, folder: Path) -> Iterator[Finding]:
    """Mend ``meta``; the transaction is the caller's."""
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
    fits = all(_noted(db, key) is not None for key in whole)
    if not fits or {key.decode("utf-8", "replace") for key in stored} != whole.keys():
        db.execute("DELETE FROM meta")
        for key, value in whole.items():
            if key != sealing.KEYS:
                sealing.put(db, key, value)


def _noted(db: sqlite3.Connection, key: str) -> str | None:
    """The value of a setting that is there and fits its checksum, or None."""
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
        "mounts": "left out; the next update notes the mount points again",
    }
    return None, hints.get(key, "left out")


def _generation(db: sqlite3.Connection, folder: Path) -> int:
    """The published generation: that of the index file, or of the newest images where there is none."""
    files = [int(match[1]) for file in folder.iterdir() if (match := re.fullmatch(r"index-(\d+)\.faiss", file.name))]
    newest = db.execute("SELECT max(generation) FROM items").fetchone()[0]
    return max(files) if files else newest if isinstance(newest, int) else 0


def _roots(db: sqlite3.Connection, folder: Path) -> Iterator[Finding]:
    if _noted(db, sealing.ROOTS_SEAL) is None:
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
        sealed = bytes.fromhex(_noted(db, sealing.ROOTS_SEAL) or "")
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


def _labels(db: sqlite3.Connection, folder: Path) -> Iterator[Finding]:
    sealed = _noted(db, sealing.LABELS_SEAL) is not None
    with contextlib.suppress(sqlite3.DatabaseError, UnicodeDecodeError):
        sealing.check_labels(db)
        if sealed:
            return
    copy = label_copy.read(folder)
    columns = "CAST(digest AS BLOB), CAST(label AS BLOB), checksum, typeof(digest), typeof(label)"
    rows = db.execute(f"SELECT {columns} FROM labels")
    whole: dict[bytes, str] = {}
    lost: list[tuple[bytes, bytes]] = []
    changed = 0
    for digest, label, checksum, kind, label_kind in rows.fetchall():
        mended = checksums.mended_label(digest, label, checksum)
        if mended is None:
            lost.append((digest, label))
            continue
        as_stored = (digest, label.decode("utf-8", "replace"), checksums.of_label(*mended), "blob", "text")
        changed += (*mended, checksum, kind, label_kind) != as_stored
        whole[mended[0]] = mended[1]
    count = _count_of_labels(db)
    missing = {digest: label for digest, label in copy.items() if digest not in whole}
    restored = 0
    if lost or (count is not None and len(whole) < count):
        for digest, label in missing.items():
            if count is not None and len(whole) >= count:
                break
            whole[digest] = label
            restored += 1
    db.execute("DELETE FROM labels")
    db.executemany(
        "INSERT INTO labels VALUES (?, ?, ?)", [(d, text, checksums.of_label(d, text)) for d, text in whole.items()]
    )
    sealing.seal_labels(db)
    file = folder / FILE
    if changed:
        yield Finding(file, f"{changed} labels had a changed bit", "put right")
    if restored:
        yield Finding(file, f"{restored} labels were damaged or missing", f"put back from {label_copy.FILE}")
    not_found = max(len(lost) - restored, 0 if count is None else count - len(whole))
    if not_found > 0:
        shown = ", ".join(repr(printable(label.decode("utf-8", "replace")[:40])) for _, label in lost[:5])
        yield Finding(
            file, f"{not_found} labels are damaged or missing", f"left out; give them again ({shown or 'unknown'})"
        )
    if not (changed or restored or not_found):
        yield Finding(file, "the checksum of its labels was damaged", "worked out again")


def _count_of_labels(db: sqlite3.Connection) -> int | None:
    """How many labels there were, where that is known."""
    try:
        return int(json.loads(_noted(db, sealing.LABELS_SEAL) or "")[0])
    except (ValueError, TypeError, IndexError):
        return None


# -- broken pages


def _rescued(folder: Path, reason: str) -> list[Finding]:
    """Make a new catalog of all that can still be read; the damaged one is kept beside it."""
    file = folder / FILE
    if is_sharded(folder):
        return _rescued_of_shards(folder, reason)
    encoder = Encoder(folder / ENCODER_FILE, device="cpu")
    with replacing(file) as temporary:
        with contextlib.closing(_open(temporary)) as new, contextlib.closing(_open(file)) as old:
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
    with contextlib.closing(_open(file)) as old, contextlib.suppress(sqlite3.DatabaseError, UnicodeDecodeError):
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
    skipped |= {"index seal", "facts seal", "noise", "measured"}
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
