"""Writing rows of the cache of decoded images: pixels are flushed before the catalog knows them."""

import contextlib
import os
import sqlite3
import time
from collections.abc import Sequence
from io import FileIO

import numpy as np
from numpy.typing import NDArray

from ..images.decoder_versions import DECODER
from ..images.files import Identity, ImageFile
from .decode_squares import Refused, Square

CATALOG, PIXELS = "catalog.sqlite", "pixels.bin"
COMMIT_BYTES, COMMIT_SECONDS = 64 << 20, 5.0  # a killed process loses at most so much


class RowWriter:
    """Adds rows to ``pixels.bin``, and to the catalog in batches.

    Args:
        db: The catalog.
        out: ``pixels.bin``, open for writing.
        first: Number of the next row.
        row_bytes: Bytes of a row.
    """

    def __init__(self, db: sqlite3.Connection, out: FileIO, first: int, row_bytes: int) -> None:
        self._db, self._out, self._next, self._row_bytes = db, out, first, row_bytes
        self._committed = first  # first row that is not committed yet
        self._pending: list[tuple] = []
        self._committed_at = time.monotonic()

    def add(self, files: Sequence[ImageFile], results: Sequence[Square | Refused]) -> None:
        """Add the results for some images.

        Args:
            files: The images.
            results: Their squares, or why they cannot be used.
        """
        squares = [result.pixels for result in results if isinstance(result, Square)]
        if squares:
            self._write(np.stack(squares))
        for file, result in zip(files, results, strict=True):
            if isinstance(result, Square):
                facts = (self._next, result.aspect, result.digest, None, None)
                self._next += 1
            else:
                facts = (None, None, None, result.reason, DECODER if result.lasting else None)
            self._pending.append((*key_of(file.identity), *facts))
        late = time.monotonic() - self._committed_at > COMMIT_SECONDS
        if late or (self._next - self._committed) * self._row_bytes >= COMMIT_BYTES:
            self.commit()

    def commit(self) -> None:
        """Flush the pixels and commit the catalog."""
        os.fsync(self._out.fileno())
        with self._db:
            self._db.executemany(f"INSERT OR REPLACE INTO images VALUES ({', '.join('?' * 10)})", self._pending)
        self._pending, self._committed, self._committed_at = [], self._next, time.monotonic()

    def close(self) -> None:
        """Commit the pending rows, or as many of them as a full disk has room for."""
        while True:
            try:
                return self.commit()
            except (OSError, sqlite3.Error):
                if not self._pending:
                    raise
                self._db.rollback()
                self._pending = self._pending[: len(self._pending) // 2]
                rows = [row for *_, row, _aspect, _digest, _reason, _decoder in self._pending if row is not None]
                self._next = rows[-1] + 1 if rows else self._committed
                with contextlib.suppress(OSError):
                    self._out.truncate(self._next * self._row_bytes)  # makes room for the catalog

    def _write(self, squares: NDArray[np.uint8]) -> None:
        start = self._next * self._row_bytes
        self._out.seek(start)
        left = memoryview(squares.tobytes())
        try:
            while left:
                left = left[self._out.write(left) :]
        except OSError:
            with contextlib.suppress(OSError):
                self._out.truncate(start)  # makes room for the catalog's entries of earlier rows
            raise


def key_of(identity: Identity) -> tuple[bytes, bytes, int, int, int]:
    """Return the key of an image in the catalog.

    Args:
        identity: What identifies its file.

    Returns:
        Path, member, offset, size and modification time, as SQLite stores them.
    """
    member = identity.member.encode("utf-8", "surrogateescape")
    # SQLite's integers end in the year 2262, those of file systems do not
    mtime = (identity.mtime_ns + 2**63) % 2**64 - 2**63
    return os.fsencode(identity.path), member, identity.offset, identity.size, mtime
