"""Reading vectors and thumbnails of a sharded collection: from the shards, at the positions that the catalog notes."""

import sqlite3
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...core.errors import UserError
from . import row_seals
from .catalog import Catalog
from .catalog_file import VISIBLE
from .shard_reader import ShardReader, unit


class ParquetVectors(Catalog):
    """The part of ``parquet_store.ParquetStore`` that reads vectors and thumbnails."""

    def __init__(self, folder: Path, connection: sqlite3.Connection) -> None:
        super().__init__(folder, connection)
        self._reader = ShardReader(folder)

    def close(self) -> None:
        self._reader.close()
        super().close()

    def vectors(self, dim: int) -> tuple[int, NDArray[np.int64], NDArray[np.float32]]:
        with self.snapshot():
            generation, ids = self.generation(), self.ids()
            return generation, ids, self.vectors_of(ids, dim)

    def vector(self, id_: int) -> NDArray[np.float32] | None:
        there, vectors = self.vectors_there(np.array([id_]), int(self.meta("dim")))
        return vectors[0] if len(there) else None

    def vectors_of(self, ids: NDArray[np.int64], dim: int) -> NDArray[np.float32]:
        """Vectors (n, dim) of the usable images ``ids`` (n,), in their order."""
        wanted, place = np.unique(ids, return_inverse=True)
        there, vectors = self.vectors_there(wanted, dim)
        if len(there) != len(wanted):
            gone = np.setdiff1d(wanted, there)[0]
            raise UserError(f"{self.folder}: image {gone} is no longer in it; search again")
        return vectors[place]

    def vectors_there(self, ids: NDArray[np.int64], dim: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Those of ``ids`` (n,), ascending and each once, that have a vector, and these (m, dim)."""
        ids = ids[ids >= 0]  # -1 stands for a result that was not found
        matrix = np.zeros((len(ids), dim), np.float32)
        at = 0
        query = (
            "SELECT row_groups.first, row_groups.rows, vectors_at, name, identity FROM row_groups"
            " JOIN shards ON shards.first = shard WHERE row_groups.first <= ? ORDER BY row_groups.first DESC LIMIT 1"
        )
        while at < len(ids):
            row = self._db.execute(query, [int(ids[at])]).fetchone()
            end = at + 1
            if row is not None and ids[at] < row[0] + row[1]:
                first, rows, vectors_at, name, identity = row
                end = int(np.searchsorted(ids, first + rows))
                matrix[at:end] = self._sealed_vectors(name, identity, vectors_at, first, rows, ids[at:end] - first, dim)
            at = end
        has_one = matrix.any(axis=1)
        return (ids, matrix) if has_one.all() else (ids[has_one], matrix[has_one])

    def _sealed_vectors(
        self, name: str, identity: str, at: int, first: int, rows: int, chosen: NDArray[np.int64], dim: int
    ) -> NDArray[np.float32]:
        """Vectors of a row group that begins at byte ``at``, compared with their checksums."""
        stored = self._reader.stored(name, identity, at, chosen, dim)
        sealed = row_seals.read(self._db, first, rows)
        if sealed is not None and not np.array_equal(row_seals.of_vectors(stored), sealed["vector"][chosen]):
            raise self._reader.trouble(name, "has a vector that does not fit its checksum")
        return unit(stored)

    def thumbnail(self, id_: int) -> bytes | None:
        row = self._db.execute(
            "SELECT row_groups.first, row_groups.rows, thumbnails_at, thumbnails, name, identity FROM row_groups"
            " JOIN shards ON shards.first = shard WHERE row_groups.first <= ? ORDER BY row_groups.first DESC LIMIT 1",
            [id_],
        ).fetchone()
        if row is None or not row[0] <= id_ < row[0] + row[1]:
            return None
        offset, count = np.frombuffer(row[3], "<u4").reshape(-1, 2)[id_ - row[0]].tolist()
        try:
            content = self._reader.content(row[4], row[5], row[2] + offset, count) if count else b""
            sealed = row_seals.read(self._db, row[0], row[1])
            fits = sealed is None or zlib.crc32(content) == sealed["thumbnail"][id_ - row[0]]
            return content if content and fits else None
        except UserError:  # a page of pictures is better off without one than not at all
            return None

    def thumbnail_lengths(self) -> Iterator[tuple[int, int, int, int]]:
        """Id, width and height of each image with a thumbnail, and the thumbnail's length in bytes."""
        groups = self._db.execute("SELECT first, rows, thumbnails FROM row_groups ORDER BY first").fetchall()
        for first, rows, places in groups:
            lengths = np.frombuffer(places, "<u4").reshape(-1, 2)[:, 1].tolist()
            query = f"SELECT id, width, height FROM items WHERE id >= ? AND id < ? AND {VISIBLE} ORDER BY id"
            for id_, width, height in self._db.execute(query, [first, first + rows]):
                if length := lengths[id_ - first]:
                    yield id_, width, height, length
