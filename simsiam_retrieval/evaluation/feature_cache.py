"""A cache of features on disk, so that each image is embedded once: one SQLite file per extractor."""

import contextlib
import os
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.paths import home
from ..images.files import ImageFile

RULES = 1  # increase this when decoding or cropping changes the pixels that extractors get
WAIT_SECONDS = 30.0  # time to wait for another process that is writing

_TABLE = """
CREATE TABLE IF NOT EXISTS features (
    path BLOB PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, crc INTEGER NOT NULL, vector BLOB NOT NULL
)
"""


class FeatureCache:
    """Vectors by file. A row is valid while the file has the same path, size and modification time.

    The cache is only a convenience. A damaged file is created again; a file that cannot be read or written is ignored.
    Two processes may use it at once.

    Args:
        identity: Identity of the extractor.
        dim: Numbers of a vector.
        dtype: dtype of the vectors.
        folder: Folder of the cache; None for the data directory.
    """

    def __init__(self, identity: str, dim: int, dtype: np.dtype, folder: Path | None = None) -> None:
        self.file = (home() / "features" if folder is None else folder) / f"{identity}-{RULES}.sqlite"
        self._dim, self._dtype = dim, dtype

    def read(self, files: Sequence[ImageFile]) -> dict[int, NDArray]:
        """Read cached vectors.

        Args:
            files: The files.

        Returns:
            Position in ``files`` -> vector, for the files that are in the cache.
        """
        if not self.file.exists():
            return {}
        try:
            with self._open() as connection:
                return dict(self._found(connection, files))
        except sqlite3.OperationalError:  # locked for too long, or not readable
            return {}
        except sqlite3.DatabaseError:
            self._discard()
            return {}
        except OSError:
            return {}

    def write(self, rows: Sequence[tuple[ImageFile, NDArray]]) -> None:
        """Store vectors. If that fails, they are not cached.

        Args:
            rows: Files and their vectors.
        """
        values = []
        for file, vector in rows:
            content = np.ascontiguousarray(vector, self._dtype).tobytes()
            values.append((os.fsencode(file.path), file.size, file.mtime_ns, zlib.crc32(content), content))
        with contextlib.suppress(OSError, sqlite3.OperationalError):
            try:
                self._insert(values)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:
                self._discard()
                self._insert(values)

    def _found(self, connection: sqlite3.Connection, files: Sequence[ImageFile]) -> Iterator[tuple[int, NDArray]]:
        length = self._dim * self._dtype.itemsize
        for index, file in enumerate(files):
            row = connection.execute(
                "SELECT crc, vector FROM features WHERE path = ? AND size = ? AND mtime_ns = ?",
                (os.fsencode(file.path), file.size, file.mtime_ns),
            ).fetchone()
            if row is not None and len(row[1]) == length and zlib.crc32(row[1]) == row[0]:
                yield index, np.frombuffer(row[1], self._dtype)

    def _insert(self, values: list[tuple]) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as connection, connection:
            connection.execute(_TABLE)
            connection.executemany("INSERT OR REPLACE INTO features VALUES (?, ?, ?, ?, ?)", values)

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self.file, timeout=WAIT_SECONDS)
        try:
            connection.execute("PRAGMA synchronous = OFF")  # if a power failure damages it, only time is lost
            yield connection
        finally:
            connection.close()

    def _discard(self) -> None:
        for suffix in ("", "-journal"):
            with contextlib.suppress(OSError):
                self.file.with_name(self.file.name + suffix).unlink(missing_ok=True)
