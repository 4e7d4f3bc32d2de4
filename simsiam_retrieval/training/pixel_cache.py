"""A cache of decoded training images on disk: squares in rows of ``pixels.bin``, and an SQLite catalog of the rows.

A row is valid once it is in the catalog, and it gets into the catalog after its pixels are flushed. A process may
therefore be killed at any time. Rows are only added, never changed, because other processes may have mapped them.
"""

import hashlib
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from ..core.atomic_files import replacing
from ..core.errors import UserError
from ..core.paths import absolute
from ..images.decoder_versions import DECODER
from ..images.files import ImageFile
from ..images.reading import AS_THEY_ARE, Reading
from .decode_squares import DIGEST_BYTES, decode_squares
from .pixel_cache_errors import DELETE, bytes_text, explained
from .pixel_cache_rows import CATALOG, PIXELS, RowWriter, key_of

FORMAT = 1  # format of the files and of the squares; another format uses other folders
LOCK = ".lock"
LOCK_SECONDS = 60  # time that a commit waits for readers, and readers for a commit
CATALOG_BYTES = 500  # approximate size of an image's entry in the catalog and its journal
SPOT_CHECKS = 16  # rows whose digests are checked when a cache is opened

_TABLES = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE images (
    path BLOB NOT NULL,             -- of the file or archive
    member BLOB NOT NULL,           -- name inside the archive; empty for a file of its own
    offset INTEGER NOT NULL,        -- inside the archive, bytes
    size INTEGER NOT NULL,          -- of the file or archive, bytes
    mtime_ns INTEGER NOT NULL,
    row INTEGER UNIQUE CHECK (row >= 0),  -- in pixels.bin, or NULL
    aspect REAL,                    -- width / height
    digest BLOB CHECK (length(digest) = {DIGEST_BYTES}),  -- SHA-256 of the row
    reason TEXT,                    -- why there is no row
    decoder TEXT,                   -- whose verdict that is; NULL where it may not last
    PRIMARY KEY (path, member, offset, size, mtime_ns),
    CHECK (CASE WHEN row IS NULL THEN reason IS NOT NULL ELSE reason IS NULL AND aspect > 0 AND digest IS NOT NULL END)
) WITHOUT ROWID;
"""
_FIND = "SELECT row, aspect, digest, reason, decoder FROM images WHERE " + " AND ".join(
    f"{column} = ?" for column in ("path", "member", "offset", "size", "mtime_ns")
)


@dataclass
class Found:
    """What a cache knows about n images.

    Attributes:
        rows: (n,), rows in ``pixels.bin``; -1 if there is none.
        aspect: (n,), width / height.
        digests: (n, 32), SHA-256 of the pixels.
        reasons: Index -> why the image cannot be used.
    """

    rows: NDArray[np.int64]
    aspect: NDArray[np.float32]
    digests: NDArray[np.uint8]
    reasons: dict[int, str]

    @property
    def missing(self) -> NDArray[np.int64]:
        """Indices of images that are not in the cache."""
        unknown = self.rows < 0
        unknown[list(self.reasons)] = False
        return np.flatnonzero(unknown)


class PixelCache:
    """The squares of one size, read in one way, in a cache folder.

    Args:
        root: The cache folder.
        side: Side of the squares in pixels.
        reading: How files become pixels.
    """

    def __init__(self, root: Path, side: int, reading: Reading = AS_THEY_ARE) -> None:
        self.side, self.reading = side, reading
        said = "-".join(f"{name}-{value}" for name, value in reading.described().items())
        self.folder = absolute(root) / "-".join(filter(None, [f"side-{side}", said.replace(" ", "-"), f"v{FORMAT}"]))
        self._row_bytes = reading.channels * side * side

    def find(self, files: Sequence[ImageFile]) -> Found:
        """Look images up. Needs no permission to write.

        Args:
            files: The images.

        Returns:
            What the cache knows about them.

        Raises:
            UserError: There is no cache, or it is damaged.
        """
        with explained(self.folder), closing(self._connect()) as db:
            return self._find(db, files, retry=False)

    def fill(
        self,
        files: Sequence[ImageFile],
        *,
        workers: int | None = None,
        progress: Callable[[int], None] = lambda done: None,
        remark: Callable[[str], None] = lambda text: None,
    ) -> Found:
        """Decode the missing images, then look all images up.

        Decoded images are kept if this is interrupted. If another process fills the cache, this one waits. Images that
        failed for a temporary reason are tried again.

        Args:
            files: The images.
            workers: Number of worker processes; None chooses it.
            progress: Called with the number of further images that are done.
            remark: Called with messages.

        Returns:
            What the cache knows about them.

        Raises:
            UserError: The folder cannot be written, is damaged, or the disk is full.
        """
        with explained(self.folder):
            if (self.folder / CATALOG).exists():
                with closing(self._connect()) as db:
                    found = self._find(db, files, retry=True)
                if not len(found.missing):
                    progress(len(files))
                    return found
            with self._writing(remark), closing(self._connect_or_create()) as db:
                if lost := self._forget_lost_rows(db):
                    remark(f"{self.folder / PIXELS}: shorter than its catalog says; {lost} images are decoded again")
                missing = self._find(db, files, retry=True).missing
                progress(len(files) - len(missing))
                self._check_room(len(missing))
                self._decode(db, [files[index] for index in missing], workers, progress)
                return self._find(db, files, retry=False)

    def pixels(self, rows: NDArray[np.int64], digests: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Map ``pixels.bin`` read-only, and check some rows.

        Args:
            rows: (n,), the rows that are needed.
            digests: (n, 32), their digests.

        Returns:
            uint8 (m, side, side, 3), up to the last of ``rows``.

        Raises:
            UserError: A row differs from its digest.
        """
        if not len(rows):
            return np.empty((0, self.side, self.side, self.reading.channels), np.uint8)
        shape = (int(rows.max()) + 1, self.side, self.side, self.reading.channels)
        with explained(self.folder):
            mapped = np.memmap(self.folder / PIXELS, np.uint8, "r", shape=shape)
        for index in np.linspace(0, len(rows) - 1, min(SPOT_CHECKS, len(rows))).astype(int):
            if hashlib.sha256(mapped[rows[index]].tobytes()).digest() != digests[index].tobytes():
                raise UserError(f"{self.folder / PIXELS}: damaged; {DELETE.format(self.folder)}")
        return mapped

    # -- reading

    def _connect(self) -> sqlite3.Connection:
        file = self.folder / CATALOG
        if not file.is_file():
            raise UserError(f"{self.folder}: no decoded images in there")
        # rw: a reader, too, rolls back what a killed writer left; without permission SQLite opens read-only
        db = sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True, timeout=LOCK_SECONDS)
        try:
            meta = dict(db.execute("SELECT key, value FROM meta"))
            if meta != {"format": FORMAT, "side": self.side}:
                raise sqlite3.DatabaseError(f"made for {meta}")
        except BaseException:
            db.close()
            raise
        return db

    def _find(self, db: sqlite3.Connection, files: Sequence[ImageFile], *, retry: bool) -> Found:
        n = len(files)
        rows, aspect = np.full(n, -1, np.int64), np.zeros(n, np.float32)
        digests, reasons = np.zeros((n, DIGEST_BYTES), np.uint8), {}
        db.execute("BEGIN")  # one snapshot
        try:
            for index, file in enumerate(files):
                known = db.execute(_FIND, key_of(file.identity)).fetchone()
                if known is None:
                    continue
                row, ratio, digest, why, decoder = known
                if why is not None:
                    if not retry or decoder == DECODER:
                        reasons[index] = why
                else:
                    rows[index], aspect[index] = row, ratio
                    digests[index] = np.frombuffer(digest, np.uint8)
        finally:
            db.rollback()
        rows[rows >= self._whole_rows()] = -1  # checked last, because rows are flushed before they are committed
        return Found(rows, aspect, digests, reasons)

    def _whole_rows(self) -> int:
        try:
            return (self.folder / PIXELS).stat().st_size // self._row_bytes
        except FileNotFoundError:
            return 0

    # -- writing

    @contextmanager
    def _writing(self, remark: Callable[[str], None]) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            remark(f"{self.folder}: another process is decoding into this cache; waiting until it is done")
            lock.acquire(poll_interval=0.2)
        try:
            yield
        finally:
            lock.release()

    def _connect_or_create(self) -> sqlite3.Connection:
        if not (self.folder / CATALOG).exists():
            # pixels without a catalog are unusable; create a new file, because others may have mapped the old one
            (self.folder / PIXELS).unlink(missing_ok=True)
            with replacing(self.folder / CATALOG) as temporary, closing(sqlite3.connect(temporary)) as db, db:
                db.executescript("BEGIN;" + _TABLES)
                db.executemany("INSERT INTO meta VALUES (?, ?)", [("format", FORMAT), ("side", self.side)])
        return self._connect()

    def _forget_lost_rows(self, db: sqlite3.Connection) -> int:
        """Delete entries beyond the end of ``pixels.bin``: new rows would otherwise be mistaken for them."""
        with db:
            return db.execute("DELETE FROM images WHERE row >= ?", [self._whole_rows()]).rowcount

    def _check_room(self, count: int) -> None:
        need, free = count * (self._row_bytes + CATALOG_BYTES), shutil.disk_usage(self.folder).free
        if need > free:
            raise UserError(
                f"{self.folder}: {count} images at {self.side} px need {bytes_text(need)}, {bytes_text(free)} are "
                f"free; make room, name a folder on another disk with --cache, or set a smaller --image-size"
            )

    def _decode(
        self, db: sqlite3.Connection, files: list[ImageFile], workers: int | None, progress: Callable[[int], None]
    ) -> None:
        first = db.execute("SELECT coalesce(max(row) + 1, 0) FROM images").fetchone()[0]
        file = self.folder / PIXELS
        file.touch()
        with (
            file.open("r+b", buffering=0) as out,
            closing(decode_squares(files, self.side, workers=workers, reading=self.reading)) as chunks,
        ):
            rows = RowWriter(db, out, first, self._row_bytes)
            done = 0
            try:
                for results in chunks:
                    rows.add(files[done : done + len(results)], results)
                    done += len(results)
                    progress(len(results))
            finally:  # after Ctrl-C or with a full disk, finished rows are kept, too
                rows.close()
