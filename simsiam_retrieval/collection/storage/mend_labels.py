"""Mending the labels in a catalog."""

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from ...core.text import printable
from . import checksums, label_copy, sealing
from .catalog_file import FILE
from .finding import Finding
from .mend_settings import sound_setting


def mend_labels(db: sqlite3.Connection, folder: Path) -> Iterator[Finding]:
    """Mend the labels, by their checksums and by their copy beside the catalog; the transaction is the caller's.

    Args:
        db: The catalog.
        folder: The collection's folder.

    Yields:
        What was wrong, each with its repair.
    """
    sealed = sound_setting(db, sealing.LABELS_SEAL) is not None
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
        return int(json.loads(sound_setting(db, sealing.LABELS_SEAL) or "")[0])
    except (ValueError, TypeError, IndexError):
        return None
