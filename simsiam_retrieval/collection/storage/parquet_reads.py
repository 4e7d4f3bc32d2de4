"""Reading the store of a sharded collection."""

import itertools
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..search.filters import Filter
from ..types import Item
from . import checksums, row_seals
from .catalog_file import PUBLISHED, VISIBLE, has_table
from .filter_sql import narrowed
from .parquet_vectors import ParquetVectors

SHARDS_SEAL = "shards seal"  # setting: a checksum of the table of published shards
GROUP_OF = "SELECT first, rows FROM row_groups WHERE first <= ? ORDER BY first DESC LIMIT 1"
BATCH = 4096  # items that a filter looks at together


@dataclass(frozen=True)
class Shard:
    """A row of the table of shards."""

    first: int
    name: str
    identity: str
    rows: int
    images: int | None
    source: str
    part: int
    generation: int

    @property
    def end(self) -> int:
        """The first id that is no longer its own."""
        return self.first + max(1, self.rows)


class ParquetReads(ParquetVectors):
    """The reading half of ``parquet_store.ParquetStore``."""

    _shards_checked: tuple[int, int] | None = None  # the state of the file in which they were compared

    def count(self) -> int:
        self._check_shards_once()
        return self._db.execute(f"SELECT coalesce(sum(images), 0) FROM shards WHERE {PUBLISHED}").fetchone()[0]

    def waiting(self) -> int:
        query = f"SELECT coalesce(sum(rows), 0) FROM shards WHERE NOT {PUBLISHED}"
        return self._db.execute(query).fetchone()[0]

    def shards(self) -> list[Shard]:
        """Return all shards, published or not, by their first ids.

        Returns:
            The shards.
        """
        names = ", ".join(Shard.__dataclass_fields__)
        return [Shard(*row) for row in self._db.execute(f"SELECT {names} FROM shards ORDER BY first")]

    def roots(self) -> list[Path]:
        return [Path(source) for source in self.images_of_sources()]

    def images_of_sources(self) -> dict[str, int]:
        """Count the images of each source.

        Returns:
            What was named to be indexed -> number of images.
        """
        query = f"SELECT source, sum(images) FROM shards WHERE source <> '' AND {PUBLISHED} GROUP BY source"
        return dict(self._db.execute(query).fetchall())

    def items(self, limit: int = -1, offset: int = 0) -> Iterator[Item]:
        """Usable images in the order of ids: of the shards, and within them of the rows. Any offset is near."""
        query = f"SELECT first, images FROM shards WHERE images > 0 AND {PUBLISHED} ORDER BY first"
        start = 0
        for first, images in self._db.execute(query).fetchall() if offset else ():
            start = first
            if offset < images:
                break
            offset -= images
        else:
            if offset:
                return
        yield from self._found(f"id >= ? AND {VISIBLE} ORDER BY id LIMIT ? OFFSET ?", [start, limit, offset])

    def items_where(self, where: Filter) -> Iterator[Item]:
        """Usable images that a filter lets through, in the order of ids."""
        labels = self.labels() if where.labels else {}
        if where.ids is not None:
            found: Iterator[Item] = iter(self.items_by_id(sorted(where.ids)).values())
        else:
            conditions, values = narrowed(where)
            found = self._found(" AND ".join([*conditions, f"{VISIBLE} ORDER BY id"]), values)
        while batch := list(itertools.islice(found, BATCH)):
            wanted = set(where.among(batch, labels))
            yield from (item for item in batch if item.id in wanted)

    def ids_where(self, where: Filter) -> NDArray[np.int64]:
        """Ids (n,) of ``items_where``, ascending."""
        return np.fromiter((item.id for item in self.items_where(where)), np.int64)

    def labels(self) -> dict[int, str]:
        some = self._db.execute("SELECT EXISTS (SELECT 1 FROM labels)").fetchone()[0]
        return super().labels() if some else {}

    def sampled_ids(self, count: int) -> NDArray[np.int64]:
        return self.sample_of([shard for shard in self.shards() if shard.generation <= self.generation()], count)

    def folder_counts(self, sampled: int) -> Counter[tuple[Path, str]]:
        """(folder, format) -> images of a random sample."""
        return Counter((item.path.parent, item.format) for item in self.sampled_items(sampled))

    def sampled_items(self, count: int) -> list[Item]:
        """Up to ``count`` usable images, drawn at random, in the order of ids."""
        return list(self.items_by_id(self.sampled_ids(count).tolist()).values())

    def sample_of(self, shards: Sequence[Shard], count: int) -> NDArray[np.int64]:
        """Draw images of some shards at random, or return all if there are fewer.

        Args:
            shards: The shards.
            count: How many.

        Returns:
            Their ids, int64 (n,), ascending.
        """
        if not shards or count < 1:
            return np.zeros(0, np.int64)
        if sum(shard.images or 0 for shard in shards) <= count:
            ranges = [np.arange(shard.first, shard.first + shard.rows) for shard in shards]
            return self._usable(np.concatenate(ranges))
        ends = np.cumsum([shard.rows for shard in shards])
        firsts = np.array([shard.first for shard in shards])
        generator = np.random.default_rng(0)
        drawn = np.zeros(0, np.int64)
        while len(drawn) < count:
            places = generator.integers(0, int(ends[-1]), 2 * count)
            shard = np.searchsorted(ends, places, side="right")
            ids = firsts[shard] + places - np.where(shard > 0, ends[shard - 1], 0)
            drawn = np.unique(np.concatenate([drawn, self._usable(ids)]))
        return np.sort(generator.permutation(drawn)[:count])

    def _usable(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        query = "SELECT 1 FROM items WHERE id = ? AND error IS NULL"
        there = [id_ for id_ in ids.tolist() if self._db.execute(query, [id_]).fetchone()]
        return np.array(there, np.int64)

    def _found(self, conditions: str, values: Sequence[object]) -> Iterator[Item]:
        query = f"SELECT id, path, size, mtime_ns, width, height, format, taken FROM items WHERE {conditions}"
        yield from map(self.item_of_row, self._db.execute(query, list(values)))

    def check_rows(self, ids: Iterable[int]) -> None:
        query = f"SELECT {row_seals.FACTS} FROM items WHERE id = ? AND {VISIBLE}"
        seals: dict[int, NDArray[np.void] | None] = {}
        for id_ in ids:
            group = self._db.execute(GROUP_OF, [id_]).fetchone()
            facts = self._db.execute(query, [id_]).fetchone()
            if facts is None or group is None or not group[0] <= id_ < group[0] + group[1]:
                raise sqlite3.DatabaseError(f"the row of image {id_} is missing")
            first, rows = group
            if first not in seals:
                seals[first] = row_seals.read(self._db, first, rows)
            sealed = seals[first]
            if sealed is not None and int(sealed["facts"][id_ - first]) != row_seals.of_facts(facts):
                raise sqlite3.DatabaseError(f"what is stored of {shown(facts[1])} does not fit its checksum")

    def list_seals(self, generation: int) -> NDArray[np.uint64] | None:
        """Return the checksums of the lists of a generation's index.

        Args:
            generation: The generation.

        Returns:
            uint64 (lists,); None if an older version built it.
        """
        if not has_table(self._db, "list_seals"):
            return None
        row = self._db.execute("SELECT seals FROM list_seals WHERE generation = ?", [generation]).fetchone()
        if row is None:
            return None
        if not isinstance(row[0], bytes) or len(row[0]) % 8:
            return np.zeros(0, np.uint64)  # fits no index: it is built again
        return np.frombuffer(row[0], "<u8")

    # -- the checksum of the list of shards

    def check_shards(self) -> None:
        """Compare the table of published shards with its checksum.

        Raises:
            DatabaseError: It is not what a build left.
        """
        sealed = self.noted(SHARDS_SEAL)
        if sealed is not None and sealed != self._of_shards():
            raise sqlite3.DatabaseError("the list of its shards does not fit its checksum")

    def _check_shards_once(self) -> None:
        """:meth:`check_shards` for each state of the file."""
        state = self.state()
        if state != self._shards_checked:
            self.check_shards()
            self._shards_checked = state

    def _of_shards(self) -> str:
        names = "first, name, identity, rows, images, source, generation"  # the next build may change the part
        rows = self._db.execute(f"SELECT {names} FROM shards WHERE {PUBLISHED} ORDER BY first")
        return checksums.row_checksum(*(value for row in rows for value in row)).hex()


def shown(path: object) -> str:
    """Return a stored path as it is named in a message.

    Args:
        path: The stored value.

    Returns:
        The text.
    """
    return os.fsdecode(path) if isinstance(path, str | bytes) else repr(path)
