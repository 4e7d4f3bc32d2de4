"""Verdicts on pairs that were compared before, kept beside the catalog; they can be computed again."""

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from .pixels.kinds import Verdict

FILE = "pairs.sqlite"
METHOD = 5  # raised with every change of the comparison: verdicts of another method are computed again

Key = tuple[bytes, bytes]  # SHA-256 of both files


class VerdictCache:
    """The cache of a collection; a context manager. A folder that cannot be written has an empty one.

    The verdict depends on both contents alone, so that files may be moved and renamed.

    Args:
        folder: The collection's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._db: sqlite3.Connection | None = None
        with contextlib.suppress(sqlite3.Error):
            self._db = _opened(folder / FILE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._db is not None:
            self._db.close()

    def known(self, keys: Iterable[Key]) -> dict[Key, Verdict]:
        """Look up verdicts.

        Args:
            keys: Digests of first and second file.

        Returns:
            Those that are known.
        """
        found: dict[Key, Verdict] = {}
        if self._db is None:
            return found
        query = "SELECT verdict FROM verdicts WHERE one = ? AND other = ? AND method = ?"
        with contextlib.suppress(sqlite3.Error):
            for key in keys:
                row = self._db.execute(query, [*sorted(key), METHOD]).fetchone()
                verdict = None if row is None else _parsed(row[0])
                if verdict is not None:
                    found[key] = verdict if key == tuple(sorted(key)) else verdict.turned_round()
        return found

    def put(self, verdicts: Mapping[Key, Verdict]) -> None:
        """Store verdicts, in one transaction.

        Args:
            verdicts: Digests of first and second file -> verdict.
        """
        if self._db is None:
            return
        rows = []
        for key, verdict in verdicts.items():
            one, other = sorted(key)
            rows.append([one, other, METHOD, json.dumps(verdict if key == (one, other) else verdict.turned_round())])
        # the cache is a convenience: a full disk or another writer does not stop the comparison
        with contextlib.suppress(sqlite3.Error), self._db:
            self._db.executemany("INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?, ?)", rows)


def _opened(file: Path) -> sqlite3.Connection:
    db = sqlite3.connect(file, timeout=5, check_same_thread=False)
    try:
        db.execute(
            "CREATE TABLE IF NOT EXISTS verdicts (one BLOB, other BLOB, method INTEGER, verdict TEXT,"
            " PRIMARY KEY (one, other, method)) WITHOUT ROWID"
        )
    except sqlite3.DatabaseError as error:
        db.close()
        if isinstance(error, sqlite3.OperationalError):  # read-only, locked, full
            raise
        file.unlink()  # damaged: begun again
        return _opened(file)
    return db


def _parsed(text: str) -> Verdict | None:
    try:
        kind, detail, part, box, agreement = json.loads(text)
        return Verdict(str(kind), str(detail), str(part), None if box is None else tuple(box), float(agreement))
    except (ValueError, TypeError):
        return None
