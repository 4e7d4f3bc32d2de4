"""The store of a sharded collection: paths, sizes, dates and reasons in SQLite; vectors and thumbnails in the shards.

The same file and the same columns as a plain collection's, so that listing, filters, duplicates and status are the same
code. An item's id is the first id of its shard plus its row; ids are never given twice. What is missing here is only
worked out again: catalog and index are made of the shards.
"""

import itertools
import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...core.errors import UserError
from ..index.index_types import SHARDED_KINDS
from ..search.filters import Filter
from ..types import Item
from . import checksums, row_seals, schema, sealing
from .catalog import Catalog
from .catalog_file import PUBLISHED, VISIBLE
from .shard_file import Places
from .shard_reader import ShardReader, unit
from .store import LARGE, Capability

# made by the build that needs it, as ``row_seals`` is
LIST_SEALS = "CREATE TABLE IF NOT EXISTS list_seals (generation INTEGER PRIMARY KEY, seals BLOB NOT NULL)"
SHARDS_SEAL = "shards seal"  # setting: a checksum of the table of published shards
_GROUP_OF = "SELECT first, rows FROM row_groups WHERE first <= ? ORDER BY first DESC LIMIT 1"
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


class ParquetStore(Catalog):
    """The catalog of a sharded collection and its shards. One thread at a time."""

    tables = schema.SHARD_TABLES
    index_kinds: ClassVar[tuple[str, ...]] = SHARDED_KINDS
    capabilities: ClassVar[Mapping[Capability, int | None]] = LARGE

    def __init__(self, folder: Path, connection: sqlite3.Connection) -> None:
        super().__init__(folder, connection)
        self._reader = ShardReader(folder)
        self._shards_checked: tuple[int, int] | None = None

    def close(self) -> None:
        self._reader.close()
        super().close()

    def migrate(self) -> None:
        if self.schema() < schema.NEWEST:
            schema.migrate(self._db, first=schema.SEALED - 1)
        self.copy_labels()

    # -- reading

    def count(self) -> int:
        self._check_shards_once()
        return self._db.execute(f"SELECT coalesce(sum(images), 0) FROM shards WHERE {PUBLISHED}").fetchone()[0]

    def waiting(self) -> int:
        query = f"SELECT coalesce(sum(rows), 0) FROM shards WHERE NOT {PUBLISHED}"
        return self._db.execute(query).fetchone()[0]

    def shards(self) -> list[Shard]:
        """All shards, published or not, by their first ids."""
        names = ", ".join(Shard.__dataclass_fields__)
        return [Shard(*row) for row in self._db.execute(f"SELECT {names} FROM shards ORDER BY first")]

    def roots(self) -> list[Path]:
        return [Path(source) for source in self.images_of_sources()]

    def images_of_sources(self) -> dict[str, int]:
        """What was named to be indexed -> images."""
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
            conditions, values = _narrowed(where)
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

    def sampled_items(self, count: int) -> list[Item]:
        """Up to ``count`` usable images, drawn at random, in the order of ids."""
        return list(self.items_by_id(self.sampled_ids(count).tolist()).values())

    def sample_of(self, shards: Sequence[Shard], count: int) -> NDArray[np.int64]:
        """Ids of ``count`` images of these shards drawn at random, or of all if there are fewer; ascending."""
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
            group = self._db.execute(_GROUP_OF, [id_]).fetchone()
            facts = self._db.execute(query, [id_]).fetchone()
            if facts is None or group is None or not group[0] <= id_ < group[0] + group[1]:
                raise sqlite3.DatabaseError(f"the row of image {id_} is missing")
            first, rows = group
            if first not in seals:
                seals[first] = row_seals.read(self._db, first, rows)
            sealed = seals[first]
            if sealed is not None and int(sealed["facts"][id_ - first]) != row_seals.of_facts(facts):
                raise sqlite3.DatabaseError(f"what is stored of {shown(facts[1])} does not fit its checksum")

    # -- vectors and thumbnails

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

    def list_seals(self, generation: int) -> NDArray[np.uint64] | None:
        """Checksums of the lists of a generation's index, (lists,); None where an older version built it."""
        if not self._has("list_seals"):
            return None
        row = self._db.execute("SELECT seals FROM list_seals WHERE generation = ?", [generation]).fetchone()
        if row is None:
            return None
        if not isinstance(row[0], bytes) or len(row[0]) % 8:
            return np.zeros(0, np.uint64)  # fits no index: it is built again
        return np.frombuffer(row[0], "<u8")

    def _has(self, table: str) -> bool:
        query = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = ?)"
        return bool(self._db.execute(query, [table]).fetchone()[0])

    def thumbnail_lengths(self) -> Iterator[tuple[int, int, int, int]]:
        """Id, width and height of each image with a thumbnail, and the thumbnail's length in bytes."""
        groups = self._db.execute("SELECT first, rows, thumbnails FROM row_groups ORDER BY first").fetchall()
        for first, rows, places in groups:
            lengths = np.frombuffer(places, "<u4").reshape(-1, 2)[:, 1].tolist()
            query = f"SELECT id, width, height FROM items WHERE id >= ? AND id < ? AND {VISIBLE} ORDER BY id"
            for id_, width, height in self._db.execute(query, [first, first + rows]):
                if length := lengths[id_ - first]:
                    yield id_, width, height, length

    # -- building

    def register(self, shards: Iterable[Shard]) -> None:
        """Note shards that are to come, in one transaction."""
        names = Shard.__dataclass_fields__
        with self._db:
            self._db.executemany(
                f"INSERT INTO shards ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})",
                [[getattr(shard, name) for name in names] for shard in shards],
            )

    def put_into_parts(self, parts: dict[int, int]) -> None:
        """Note the part that each shard (by its first id) goes into."""
        with self._db:
            self._db.executemany("UPDATE shards SET part = ? WHERE first = ?", [(p, f) for f, p in parts.items()])

    def fill(self, contents: Iterable[tuple[Shard, Iterable[dict[str, Any]], Iterable[Places]]]) -> None:
        """Store the rows of some shards, in one transaction."""
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
        """Remove shards that were never published."""
        with self._db:
            self._remove(shards)

    def publish_shards(self, gone: Iterable[Shard], notes: dict[str, str], lists: NDArray[np.uint64]) -> None:
        """Show the next generation to readers, without the shards ``gone``; settings and measurements with it.

        ``lists``: checksums of its index's lists.
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
        if self._has("row_seals"):
            self._db.execute("DELETE FROM row_seals WHERE first >= ? AND first < ?", [shard.first, shard.end])

    # -- checksums of the tables

    def check_shards(self) -> None:
        """Raise ``DatabaseError`` where the table of published shards is not what a build left."""
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

    def differing_rows(self, shard: Shard, rows: Iterable[dict[str, Any]], places: Sequence[Places]) -> int:
        """How many rows of a shard are not what its file says, those included that are missing, or too many."""
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
        """Whether the rows of a shard have checksums."""
        group = self._db.execute(_GROUP_OF, [shard.first]).fetchone()
        return group is None or row_seals.read(self._db, *group) is not None

    def remove_strays(self) -> int:
        """Remove rows that belong to no shard; how many there were."""
        with self._db:
            inside = "SELECT 1 FROM shards WHERE id >= shards.first AND id < shards.first + max(1, shards.rows)"
            found = self._db.execute(f"DELETE FROM items WHERE NOT EXISTS ({inside})").rowcount
            inside = inside.replace("id ", "row_groups.first ")
            return found + self._db.execute(f"DELETE FROM row_groups WHERE NOT EXISTS ({inside})").rowcount


def shown(path: object) -> str:
    """A stored path in a message."""
    return os.fsdecode(path) if isinstance(path, str | bytes) else repr(path)


def shard_values(shard: Shard, rows: Iterable[dict[str, Any]]) -> Iterator[tuple[Any, ...]]:
    """What the catalog stores of a shard's rows, as :data:`row_seals.FACTS`."""
    names = ("path", "size", "mtime_ns", "reason", "digest", "width", "height", "format", "taken")
    for number, row in enumerate(rows):
        yield shard.first + number, *(row[name] for name in names)


def _group_row(first: int, shard: Shard, group: Places) -> tuple[Any, ...]:
    thumbnails = group.thumbnails.astype("<u4").tobytes()
    return first, group.rows, shard.first, group.vectors_at, group.thumbnails_at, thumbnails


def _narrowed(where: Filter) -> tuple[list[str], list[object]]:
    """SQL conditions that everything meets which the filter lets through, so that fewer rows are looked at."""
    conditions: list[str] = []
    values: list[object] = []
    if where.folders:
        clauses = []
        for folder in map(os.fspath, where.folders):
            inside = folder.rstrip(os.sep) + os.sep
            clauses.append("path = ? OR (path >= ? AND path < ?)")
            values += [folder, inside, inside[:-1] + chr(ord(os.sep) + 1)]
        conditions.append(f"({' OR '.join(clauses)} OR path >= x'')")  # names that are not UTF-8 come last
    if where.formats:
        formats = {name.upper() for name in where.formats}
        formats |= {"JPEG", "MPO"} if formats & {"JPG", "JPEG"} else set()
        conditions.append(f"upper(format) IN ({', '.join('?' * len(formats))})")
        values += sorted(formats)
    for expression, bound in (
        ("min(width, height) >=", where.min_side),
        ("max(width, height) <=", where.max_side),
        ("size >=", where.min_bytes),
        ("size <=", where.max_bytes),
    ):
        if bound is not None:
            conditions.append(f"{expression} ?")
            values.append(bound)
    return conditions, values
