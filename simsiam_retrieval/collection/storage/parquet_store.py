"""The store of a sharded collection: paths, sizes, dates and reasons in SQLite; vectors and thumbnails in the shards.

The same file and the same columns as a plain collection's, so that listing, filters, duplicates and status are the same
code. An item's id is the first id of its shard plus its row; ids are never given twice. What is missing here is only
worked out again: catalog and index are made of the shards.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..index.index_kinds import SHARDED_KINDS
from . import row_seals, schema, sealing
from .capabilities import LARGE, Capability
from .catalog_file import has_table
from .parquet_reads import GROUP_OF, SHARDS_SEAL, ParquetReads, Shard
from .shard_file import Places

# made by the build that needs it, as ``row_seals`` is
LIST_SEALS = "CREATE TABLE IF NOT EXISTS list_seals (generation INTEGER PRIMARY KEY, seals BLOB NOT NULL)"


class ParquetStore(ParquetReads):
    """The catalog of a sharded collection and its shards. One thread at a time."""

    tables = schema.SHARD_TABLES
    index_kinds: ClassVar[tuple[str, ...]] = SHARDED_KINDS
    capabilities: ClassVar[Mapping[Capability, int | None]] = LARGE

    def migrate(self) -> None:
        """Bring an older catalog to the newest schema, in one transaction; others may go on reading it."""
        if self.schema() < schema.NEWEST:
            schema.migrate(self._db, first=schema.SEALED - 1)
        self.copy_labels()

    # -- building

    def register(self, shards: Iterable[Shard]) -> None:
        """Note shards that are to come, in one transaction.

        Args:
            shards: The shards.
        """
        names = Shard.__dataclass_fields__
        with self._db:
            self._db.executemany(
                f"INSERT INTO shards ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})",
                [[getattr(shard, name) for name in names] for shard in shards],
            )

    def put_into_parts(self, parts: dict[int, int]) -> None:
        """Note the part that each shard goes into.

        Args:
            parts: First id of a shard -> its part.
        """
        with self._db:
            self._db.executemany("UPDATE shards SET part = ? WHERE first = ?", [(p, f) for f, p in parts.items()])

    def fill(self, contents: Iterable[tuple[Shard, Iterable[dict[str, Any]], Iterable[Places]]]) -> None:
        """Store the rows of some shards, in one transaction.

        Args:
            contents: Each shard with its rows and the places of their values.
        """
        with self._db:
            self._db.execute(row_seals.TABLE)
            for shard, rows, places in contents:
                self._fill(shard, rows, places)

    def _fill(self, shard: Shard, rows: Iterable[dict[str, Any]], places: Iterable[Places]) -> None:
        self._db.execute("DELETE FROM items WHERE id >= ? AND id < ?", [shard.first, shard.end])
        self._remove_groups(shard)
        facts: list[int] = []

        def stored() -> Iterator[list[Any]]:
            for values in shard_values(shard, rows):
                facts.append(row_seals.of_facts(values))
                yield [shard.generation, *values]

        self._db.executemany(
            f"INSERT INTO items (generation, {row_seals.FACTS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", stored()
        )
        first = shard.first
        for group in places:
            self._db.execute("INSERT INTO row_groups VALUES (?, ?, ?, ?, ?, ?)", _group_row(first, shard, group))
            if group.seals is not None:
                start = first - shard.first
                row_seals.put(self._db, first, facts[start : start + group.rows], group.seals)
            first += group.rows
        query = "SELECT count(*) FROM items WHERE id >= ? AND id < ? AND error IS NULL"
        images = self._db.execute(query, [shard.first, shard.end]).fetchone()[0]
        self._db.execute("UPDATE shards SET images = ? WHERE first = ?", [images, shard.first])

    def forget(self, shards: Iterable[Shard]) -> None:
        """Remove shards that were never published.

        Args:
            shards: The shards.
        """
        with self._db:
            self._remove(shards)

    def publish_shards(self, gone: Iterable[Shard], notes: dict[str, str], lists: NDArray[np.uint64]) -> None:
        """Show the next generation to readers.

        Args:
            gone: Shards that leave the collection.
            notes: Settings and measurements.
            lists: Checksums of the lists of its index, uint64 (lists,).
        """
        with self._db:
            self._db.execute(LIST_SEALS)
            self._db.execute("DELETE FROM list_seals")
            self._db.execute(
                "INSERT INTO list_seals VALUES (?, ?)", [self.generation() + 1, lists.astype("<u8").tobytes()]
            )
            self._remove(gone)
            for key, value in notes.items():
                sealing.put(self._db, key, value)
            sealing.put(self._db, "generation", str(self.generation() + 1))
            sealing.put(self._db, SHARDS_SEAL, self._of_shards())

    def _remove(self, shards: Iterable[Shard]) -> None:
        for shard in shards:
            self._db.execute("DELETE FROM items WHERE id >= ? AND id < ?", [shard.first, shard.end])
            self._remove_groups(shard)
            self._db.execute("DELETE FROM shards WHERE first = ?", [shard.first])

    def _remove_groups(self, shard: Shard) -> None:
        self._db.execute("DELETE FROM row_groups WHERE first >= ? AND first < ?", [shard.first, shard.end])
        if has_table(self._db, "row_seals"):
            self._db.execute("DELETE FROM row_seals WHERE first >= ? AND first < ?", [shard.first, shard.end])

    # -- checksums of the tables

    def differing_rows(self, shard: Shard, rows: Iterable[dict[str, Any]], places: Sequence[Places]) -> int:
        """Count the rows of a shard that are not what its file says, with those that are missing, or too many.

        Args:
            shard: The shard.
            rows: The rows of its file.
            places: The places of their values, with checksums.

        Returns:
            The number.
        """
        query = f"SELECT {row_seals.FACTS}, generation FROM items WHERE id >= ? AND id < ? ORDER BY id"
        held = {row[0]: row for row in self._db.execute(query, [shard.first, shard.end])}
        expected = {values[0]: (*values, shard.generation) for values in shard_values(shard, rows)}
        differing = {id_ for id_ in held.keys() | expected.keys() if held.get(id_) != expected.get(id_)}
        first = shard.first
        for group in places:
            there = self._db.execute("SELECT * FROM row_groups WHERE first = ?", [first]).fetchone()
            facts = [row_seals.of_facts(expected[id_][:-1]) for id_ in range(first, first + group.rows)]
            assert group.seals is not None  # of read_places
            try:
                sealed = row_seals.read(self._db, first, group.rows)
            except sqlite3.DatabaseError:
                sealed = np.zeros(0)
            wrong = sealed is not None and sealed.tobytes() != row_seals.packed(facts, group.seals)
            if there != _group_row(first, shard, group) or wrong:
                differing |= set(range(first, first + group.rows))
            first += group.rows
        return len(differing)

    def sealed(self, shard: Shard) -> bool:
        """Return whether the rows of a shard have checksums.

        Args:
            shard: The shard.

        Returns:
            True if they have.
        """
        group = self._db.execute(GROUP_OF, [shard.first]).fetchone()
        return group is None or row_seals.read(self._db, *group) is not None

    def remove_strays(self) -> int:
        """Remove rows that belong to no shard.

        Returns:
            How many there were.
        """
        with self._db:
            inside = "SELECT 1 FROM shards WHERE id >= shards.first AND id < shards.first + max(1, shards.rows)"
            found = self._db.execute(f"DELETE FROM items WHERE NOT EXISTS ({inside})").rowcount
            inside = inside.replace("id ", "row_groups.first ")
            return found + self._db.execute(f"DELETE FROM row_groups WHERE NOT EXISTS ({inside})").rowcount


def shard_values(shard: Shard, rows: Iterable[dict[str, Any]]) -> Iterator[tuple[Any, ...]]:
    """Return what the catalog stores of a shard's rows.

    Args:
        shard: The shard.
        rows: The rows of its file.

    Yields:
        The values of ``row_seals.FACTS``.
    """
    names = ("path", "size", "mtime_ns", "reason", "digest", "width", "height", "format", "taken")
    for number, row in enumerate(rows):
        yield shard.first + number, *(row[name] for name in names)


def _group_row(first: int, shard: Shard, group: Places) -> tuple[Any, ...]:
    thumbnails = group.thumbnails.astype("<u4").tobytes()
    return first, group.rows, shard.first, group.vectors_at, group.thumbnails_at, thumbnails
