"""Reading a store whose vectors and thumbnails lie in the catalog itself."""

import json
import sqlite3
from collections import Counter
from collections.abc import Container, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..index.noise_level import sample
from ..search.filters import Filter
from ..types import Content, Item, Known, Regions
from ..update.patterns import Selection
from . import checksums, listing_seal, region_table, sealing, vector_table
from .catalog import Catalog
from .catalog_file import PUBLISHED, VISIBLE, folder_of, has_table, path_of

CHECKSUM_SCHEMA = 3  # the first with a checksum of each row

LOOKED_UP = 10_000  # ids up to which each is looked up; reading all ids of a million images takes a second


class SqliteReads(Catalog):
    """The reading half of ``sqlite_store.SqliteStore``."""

    _digests_checked = -1  # the generation whose digests were compared with their checksum
    _facts_checked = -1  # the generation of which what lists show was

    def _check_labels(self) -> None:
        """Compare the digests, too, by which the labels are found; once for each generation."""
        super()._check_labels()
        generation = self.generation()
        if generation != self._digests_checked:
            if sealing.digests_fit(self._db, generation):
                self._digests_checked = generation
            elif generation == self.generation():  # else an update was published meanwhile
                raise sqlite3.DatabaseError("hashes of its images do not fit their checksum")
        self._check_facts()

    def _check_facts(self) -> None:
        """Compare what lists show of all images with its checksum, once for each generation."""
        with self.one_state():
            generation = self.generation()
            if generation == self._facts_checked:
                return
            if listing_seal.fits(self._db, generation) is False:
                raise sqlite3.DatabaseError("what is stored of its images does not fit its checksum")
            self._facts_checked = generation

    def count(self) -> int:
        """Usable images."""
        return self._db.execute(f"SELECT count(*) FROM items WHERE {VISIBLE}").fetchone()[0]

    def items(self, limit: int = -1, offset: int = 0) -> Iterator[Item]:
        """Usable images, sorted by path."""
        self._check_facts()
        query = f"SELECT {self._columns()} FROM items WHERE {VISIBLE} ORDER BY path LIMIT ? OFFSET ?"
        yield from map(self.item_of_row, self._db.execute(query, [limit, offset]))

    def waiting(self) -> int:
        """Rows that an interrupted update left for the next one."""
        return self._db.execute(f"SELECT count(*) FROM items WHERE NOT {PUBLISHED}").fetchone()[0]

    def stored(self) -> Iterator[tuple[int, Path, bytes | None, bytes | None, bytes | None, bool | None]]:
        """Return what is stored of usable images, in the order of ids.

        Yields:
            Id, path, digest, vector, thumbnail, and whether the row fits its checksum; None for a row that has none.
        """
        rows = self._db.execute(
            f"SELECT id, path, digest, vector, jpeg, checksum = {checksums.OF_ROW} FROM items"
            f" LEFT JOIN vectors ON vectors.item = id LEFT JOIN thumbnails ON thumbnails.item = id"
            f" WHERE {VISIBLE} ORDER BY id"
        )
        for id_, path, digest, vector, thumbnail, fits in rows:
            yield id_, path_of(path), digest, vector, thumbnail, None if fits is None else bool(fits)

    def other_changed_rows(self) -> list[Path]:
        """Find rows of files without a usable image that do not fit their checksum.

        Returns:
            The files.
        """
        rows = self._db.execute(f"SELECT path FROM items WHERE NOT ({VISIBLE}) AND checksum <> {checksums.OF_ROW}")
        return [path_of(path) for (path,) in rows]

    def roots(self) -> list[Path]:
        """The folders that were indexed."""
        with self.one_state():
            sealing.check_roots(self._db)
            return [path_of(path) for (path,) in self._db.execute("SELECT path FROM roots ORDER BY path")]

    def items_where(self, where: Filter) -> Iterator[Item]:
        """Usable images that a filter lets through, sorted by path."""
        items = list(self.items())
        wanted = set(where.among(items, self.labels(), self.measures() if where.measures else None))
        return (item for item in items if item.id in wanted)

    def ids_where(self, where: Filter) -> NDArray[np.int64]:
        """Ids (n,) of ``items_where``, ascending."""
        measures = self.measures() if where.measures else None
        return np.array(where.among(self.items(), self.labels(), measures), np.int64)

    def folder_counts(self, sampled: int) -> Counter[tuple[Path, str]]:
        """(folder, format) -> usable images."""
        self._check_facts()
        found = Counter(
            (folder_of(path), kind)
            for path, kind in self._db.execute(f"SELECT path, format FROM items WHERE {VISIBLE}")
        )
        return Counter({(path_of(folder), kind): count for (folder, kind), count in found.items()})

    def sampled_items(self, count: int) -> list[Item]:
        """All images: here they are few enough."""
        return list(self.items())

    def vectors(self, dim: int) -> tuple[int, NDArray[np.int64], NDArray[np.float32]]:
        """Generation, ids (n,) and vectors (n, dim) of all usable images, in the order of ids, from one snapshot."""
        with self.snapshot():
            generation = self.generation()
            ids, matrix = vector_table.read_all(self._db, self.count(), dim)
        vector_table.check_unit(ids, matrix)
        return generation, ids, matrix

    def vectors_of(self, ids: NDArray[np.int64], dim: int) -> NDArray[np.float32]:
        """Vectors (n, dim) of the usable images ``ids`` (n,), in their order; read in the file's, which is faster."""
        return vector_table.read(self._db, ids, dim, self.count())

    def vectors_there(self, ids: NDArray[np.int64], dim: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Those of ``ids`` (n,), ascending and each once, that are usable images, and their vectors (m, dim)."""
        if len(ids) > LOOKED_UP:
            there = ids[np.isin(ids, self.ids(), assume_unique=True)]
            return there, self.vectors_of(there, dim)
        query = f"SELECT 1 FROM items WHERE id = ? AND {VISIBLE}"
        there = ids[[self._db.execute(query, [id_]).fetchone() is not None for id_ in ids.tolist()]]
        return there, vector_table.read(self._db, there, dim, vector_table.FEW * LOOKED_UP + 1)

    def vector(self, id_: int) -> NDArray[np.float32] | None:
        """The stored vector of an image, (dim,)."""
        return vector_table.read_one(self._db, id_, self._number("dim"))

    def regions(self, dim: int, items: Iterable[int] | None = None) -> Iterator[tuple[int, Regions]]:
        """Return the regions of usable images that fit their checksums.

        Args:
            dim: Values per vector.
            items: Item ids; None for all.

        Yields:
            Item ids, ascending or as given, and their regions.
        """
        yield from region_table.read(self._db, dim, items)

    def with_regions(self) -> int:
        """Return the number of usable images whose regions are stored."""
        return region_table.count(self._db)

    def digest(self, id_: int) -> bytes | None:
        """Return the SHA-256 of an image's file.

        Args:
            id_: Id of the image.

        Returns:
            32 bytes; None for an unknown id, or where an old collection has none.
        """
        row = self._db.execute("SELECT digest FROM items WHERE id = ?", [id_]).fetchone()
        return None if row is None else row[0]

    def region_counts(self) -> list[tuple[int, int]]:
        """Return the ids of usable images whose regions are stored, ascending, and how many each has."""
        return list(region_table.sizes(self._db))

    def without_regions(self) -> list[int]:
        """Return the ids of usable images whose regions are not stored, ascending."""
        return region_table.missing(self._db)

    def thumbnail(self, id_: int) -> bytes | None:
        """The thumbnail of an image, JPEG."""
        row = self._db.execute("SELECT jpeg FROM thumbnails WHERE item = ?", [id_]).fetchone()
        return None if row is None else row[0]

    def thumbnail_lengths(self) -> Iterator[tuple[int, int, int, int]]:
        """Id, width and height of each image with a thumbnail, and the thumbnail's length in bytes."""
        # SQLite knows a blob's length without reading it
        query = "SELECT items.id, width, height, length(jpeg) FROM thumbnails JOIN items ON items.id = item WHERE "
        yield from self._db.execute(query + VISIBLE)

    def check_rows(self, ids: Iterable[int]) -> None:
        """Raise ``DatabaseError`` where what is stored of one of these items is not what was written."""
        if self.schema() < CHECKSUM_SCHEMA:
            return
        query = f"SELECT path FROM items WHERE id = ? AND checksum <> {checksums.OF_ROW}"
        for id_ in ids:
            row = self._db.execute(query, [id_]).fetchone()
            if row is not None:
                raise sqlite3.DatabaseError(f"what is stored of {path_of(row[0])} does not fit its checksum")

    def sampled_ids(self, count: int) -> NDArray[np.int64]:
        """Ids of ``count`` usable images drawn at random, or of all if there are fewer; ascending."""
        return sample(self.ids(), count)

    def known_below(self, roots: Iterable[Path]) -> dict[Path, Known]:
        """Return the newest row of every file at or below some roots, published or pending.

        Args:
            roots: Absolute paths.

        Returns:
            Path -> row.
        """
        has_times = has_table(self._db, "change_times")
        ctime, join = ("ctime_ns", "LEFT JOIN change_times ON item = id") if has_times else ("NULL", "")
        query = (
            f"SELECT path, id, size, mtime_ns, generation, error, digest, {ctime} FROM items {join} ORDER BY generation"
        )
        above = set(roots)
        known = {}
        for stored, *rest in self._db.execute(query):
            path = path_of(stored)
            if path in above or not above.isdisjoint(path.parents):
                known[path] = Known(*rest)
        return known

    def contents_of(self, sizes: Container[int]) -> Iterator[Content]:
        """Find usable rows, published or pending, by the size of their files.

        Args:
            sizes: The sizes, in bytes.

        Yields:
            The contents.
        """
        query = (
            "SELECT id, size, digest FROM items JOIN vectors ON item = id WHERE error IS NULL AND digest IS NOT NULL"
        )
        yield from (Content(*row) for row in self._db.execute(query) if row[1] in sizes)

    def selection(self) -> Selection:
        """Return the patterns of all roots.

        Returns:
            The patterns.
        """
        stored = self.noted("patterns")
        try:
            return Selection.from_json(stored) if stored else Selection({})
        except (ValueError, TypeError, AttributeError):
            raise sqlite3.DatabaseError("the patterns of its roots cannot be read") from None

    def mounts(self) -> set[Path]:
        """Return where other file systems were mounted that held images of the collection.

        Returns:
            The mount points.
        """
        stored = self.noted("mounts")
        try:
            return {Path(mount) for mount in json.loads(stored)} if stored else set()
        except (ValueError, TypeError):
            raise sqlite3.DatabaseError("the list of mount points cannot be read") from None
