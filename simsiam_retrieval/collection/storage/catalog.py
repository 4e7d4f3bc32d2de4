"""The catalog: one SQLite file that holds what is known of every file, its vector and its thumbnail.

Rows carry the generation they belong to. Readers see rows up to the published generation; an update adds rows of
the next one in batches and publishes them, together with all removals, in one transaction at its end. So readers
see the old state or the new one, and an update that was killed leaves its finished batches to the next.
"""

import contextlib
import json
import os
import sqlite3
from collections.abc import Container, Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...core.atomic_files import replacing
from ...core.errors import UserError
from ...images.files import ImageFile
from ...images.measures import Measures
from ..index.index_types import KINDS
from ..index.noise_level import sample
from ..update.patterns import Selection
from . import checksums, label_copy, measure_table, schema, sealing
from .shard_manifest import is_sharded

FILE = "catalog.sqlite"
FEW = 10  # a lookup by id costs about as much as passing over this many rows
RETRY = -1  # stands for a file's time where the next update should try it again, whether it has changed or not
LOCK_SECONDS = 60  # a commit waits this long for readers to finish, and they for it


@dataclass(frozen=True)
class Item:
    """An image of a collection."""

    id: int
    path: Path  # absolute, as it was when indexed
    size: int  # bytes
    mtime_ns: int
    width: int  # pixels, upright
    height: int
    format: str  # JPEG, PNG, ...
    taken: datetime | None = None  # by the camera's clock, from EXIF; None also where an old collection did not ask

    @property
    def date(self) -> datetime:
        """When it was taken, or else when the file was last changed; local time without a zone."""
        return self.taken or datetime.fromtimestamp(self.mtime_ns // 10**9)


@dataclass(frozen=True)
class Entry:
    """What an update found out about one file."""

    path: Path
    size: int
    mtime_ns: int
    error: str | None = None
    digest: bytes | None = None
    width: int | None = None
    height: int | None = None
    format: str | None = None
    taken: datetime | None = None
    vector: NDArray[np.float32] | None = None  # (dim,)
    thumbnail: bytes | None = None  # JPEG
    measures: Measures | None = None
    pages: int = 1  # of its file; for the report, not stored


class Record(NamedTuple):
    """An image with all that is known of it, but its vector and thumbnail."""

    item: Item
    digest: bytes | None  # SHA-256 of the file; None where an old collection did not ask
    label: str  # "" without one


@dataclass(frozen=True)
class Known:
    """A row as an update compares it with the disk."""

    id: int
    size: int
    mtime_ns: int
    generation: int
    error: str | None
    digest: bytes | None
    ctime_ns: int | None = None  # None where no update noted it


@dataclass(frozen=True)
class Content:
    """A usable row, as what its file holds."""

    id: int
    size: int  # bytes
    digest: bytes


@dataclass(frozen=True)
class Published:
    """What publishing a generation changed for readers."""

    changed: bool  # anything at all
    new_images: int
    changed_images: int


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn SQLite's errors into one line for the user."""
    try:
        yield
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # the latter of text that is none any more
        text = str(error)
        if "full" in text or "disk I/O" in text:
            raise UserError(
                f"{folder}: the disk is full or fails ({text}); nothing that was committed is lost; "
                "make room, run again"
            ) from None
        if "readonly" in text or "unable to open" in text:
            if (folder / f"{FILE}-journal").exists():
                raise UserError(
                    f"{folder}: an update was interrupted, and undoing its last step needs permission to write there; "
                    "run any command as somebody who may, or copy the whole folder and use the copy"
                ) from None
            raise UserError(f"{folder}: no permission to write there") from None
        if "locked" in text:
            raise UserError(f"{folder}: another program holds the catalog; try again when it is done") from None
        raise UserError(
            f"{folder / FILE}: damaged ({text}); mend it: "
            f"python -m simsiam_retrieval.index --verify --collection {folder}"
        ) from None


class Catalog:
    """Access to ``catalog.sqlite``. One thread at a time; errors as sqlite3 raises them."""

    tables, index_kinds = schema.TABLES, KINDS

    def __init__(self, folder: Path, connection: sqlite3.Connection) -> None:
        self.folder = folder
        self._db = connection
        self._labels_checked: tuple[int, int] | None = None

    @classmethod
    def create(cls, folder: Path, meta: dict[str, str]) -> "Catalog":
        """Make a new catalog in an existing folder."""
        # a catalog is there whole or not at all
        with replacing(folder / FILE) as temporary, contextlib.closing(sqlite3.connect(temporary)) as connection:
            connection.execute("PRAGMA journal_mode = OFF")  # a process that is killed leaves no journal beside it
            with connection:
                connection.executescript("BEGIN;" + cls.tables)
                for key, value in {"schema": str(schema.NEWEST), "generation": "0", **meta}.items():
                    sealing.put(connection, key, value)
                sealing.seal_roots(connection)
                sealing.seal_labels(connection)
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> "Catalog":
        """Open an existing catalog, of this schema or an older one, of a plain or a sharded collection.

        Raises :class:`UserError` when there is none, or when it was written by a newer version.
        """
        if not (folder / FILE).is_file():
            if is_sharded(folder):
                raise UserError(
                    f"{folder}: embedded, but not built yet; "
                    f"run: python -m simsiam_retrieval.index --rebuild-index --collection {folder}"
                )
            raise UserError(f"{folder}: not a collection; make one with: python -m simsiam_retrieval.index FOLDER")
        if is_sharded(folder):
            from .shard_catalog import ShardCatalog  # late: it is made of this one

            cls = ShardCatalog
        catalog = cls(folder, _connect(folder))
        found = catalog.schema()
        if found > schema.NEWEST:
            raise UserError(f"{folder}: made by a newer version of this package (schema {found}); upgrade to open it")
        return catalog

    @classmethod
    def open_to_write(cls, folder: Path) -> "Catalog":
        """Open an existing catalog and bring it to the newest schema; raises as :meth:`open` does."""
        catalog = cls.open(folder)
        catalog.migrate()
        return catalog

    def migrate(self) -> None:
        """Bring an older catalog to the newest schema, in one transaction; others may go on reading it."""
        if self.schema() < schema.NEWEST:
            schema.migrate(self._db)
        self.copy_labels()

    def copy_labels(self) -> None:
        """Write the copy of the labels beside the catalog, where there are labels and it is not there."""
        if not (self.folder / label_copy.FILE).exists() and (labels := dict(self.stored_labels())):
            label_copy.write(self.folder, labels)

    def take_copied_labels(self) -> None:
        """Where there is no label, take those of the copy: the catalog was lost, and is made again."""
        if next(self.stored_labels(), None) is None and (copied := label_copy.read(self.folder)):
            with self._db:
                sealing.put_labels(self._db, dict(copied))

    def stored_labels(self) -> Iterator[tuple[bytes, str]]:
        """Digest and label of all that is labelled, be it of the collection now or not."""
        if self.schema() >= _TAKEN_SCHEMA:
            yield from self._db.execute("SELECT digest, label FROM labels")

    def close(self) -> None:
        self._db.close()

    def meta(self, key: str) -> str:
        value = self.noted(key)
        if value is None:
            raise sqlite3.DatabaseError(f"no {key} in it")
        return value

    def noted(self, key: str) -> str | None:
        """What :meth:`note` stored under this key, if it did."""
        return sealing.noted(self._db, key)

    def note(self, key: str, value: str) -> None:
        """Store a setting or a measurement beside the catalog's own."""
        with self._db:
            sealing.put(self._db, key, value)

    def noted_json(self, key: str) -> Any:
        """What was stored under this key, read as JSON; None without it. Raises ``DatabaseError`` for anything else."""
        try:
            return json.loads(self.noted(key) or "null")
        except (ValueError, RecursionError):
            raise sqlite3.DatabaseError(f"its setting {key!r} cannot be read") from None

    def schema(self) -> int:
        """The version of its tables; another process may raise it at any time."""
        return self._number("schema")

    def generation(self) -> int:
        """The published generation; it grows with every update that changed something."""
        return self._number("generation")

    def _number(self, key: str) -> int:
        try:
            return int(self.meta(key))
        except ValueError:
            raise sqlite3.DatabaseError(f"its {key} is no number") from None

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Reads within see one state; whoever wants to publish waits meanwhile."""
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.rollback()

    @staticmethod
    def item_of_row(row: tuple) -> Item:
        """The item of a row of id, path, size, mtime_ns, width, height, format and taken."""
        whole = all(type(value) is int for value in (row[0], *row[2:6])) and isinstance(row[6], str)
        try:
            taken = None if row[7] is None else datetime.fromisoformat(row[7])
        except (ValueError, TypeError):
            whole, taken = False, None
        if not whole:
            raise sqlite3.DatabaseError(f"what is stored of item {row[0]} cannot be right")
        return Item(row[0], _path(row[1]), *row[2:7], taken=taken)

    def _columns(self) -> str:
        return f"{_ITEM}, {'taken' if self.schema() >= _TAKEN_SCHEMA else 'NULL'}"

    # -- reading

    def count(self) -> int:
        """Usable images."""
        return self._db.execute(f"SELECT count(*) FROM items WHERE {_VISIBLE}").fetchone()[0]

    def items(self, limit: int = -1, offset: int = 0) -> Iterator[Item]:
        """Usable images, sorted by path."""
        query = f"SELECT {self._columns()} FROM items WHERE {_VISIBLE} ORDER BY path LIMIT ? OFFSET ?"
        yield from map(self.item_of_row, self._db.execute(query, [limit, offset]))

    def items_by_id(self, ids: Iterable[int]) -> dict[int, Item]:
        """Usable images among ``ids``."""
        found = {}
        query = f"SELECT {self._columns()} FROM items WHERE id = ? AND {_VISIBLE}"
        for id_ in ids:
            row = self._db.execute(query, [int(id_)]).fetchone()
            if row is not None:
                found[row[0]] = self.item_of_row(row)
        return found

    def item_at(self, path: Path) -> Item | None:
        """The usable image of this file."""
        row = self._db.execute(
            f"SELECT {self._columns()} FROM items WHERE path = ? AND {_VISIBLE} ORDER BY generation DESC",
            [_stored(path)],
        ).fetchone()
        return None if row is None else self.item_of_row(row)

    def records(self, after: int, upto: int) -> list[Record]:
        """Usable images with ids in (after, upto], in the order of ids, with digest and label."""
        label, join = ("label", "LEFT JOIN labels USING (digest)") if self.schema() >= _TAKEN_SCHEMA else ("NULL", "")
        rows = self._db.execute(
            f"SELECT {self._columns()}, digest, {label} FROM items {join}"
            f" WHERE id > ? AND id <= ? AND {_VISIBLE} ORDER BY id",
            [after, upto],
        )
        return [Record(self.item_of_row(row[:8]), row[8], row[9] or "") for row in rows]

    def next_id(self, after: int) -> int | None:
        """The lowest id of a usable image beyond ``after``, or None."""
        return self._db.execute(f"SELECT min(id) FROM items WHERE id > ? AND {_VISIBLE}", [after]).fetchone()[0]

    def ids(self) -> NDArray[np.int64]:
        """Ids of usable images, ascending."""
        rows = self._db.execute(f"SELECT id FROM items WHERE {_VISIBLE} ORDER BY id")
        return np.fromiter((id_ for (id_,) in rows), np.int64)

    def sampled_ids(self, count: int) -> NDArray[np.int64]:
        """Ids of ``count`` usable images drawn at random, or of all if there are fewer; ascending."""
        return sample(self.ids(), count)

    def waiting(self) -> int:
        """Rows that an interrupted update left for the next one."""
        return self._db.execute(f"SELECT count(*) FROM items WHERE NOT {_PUBLISHED}").fetchone()[0]

    def stored(self) -> Iterator[tuple[int, Path, bytes | None, bytes | None, bytes | None, bool | None]]:
        """Id, path, digest, vector and thumbnail of usable images, as they are stored, in the order of ids; and whether
        the row's checksum fits, None where it has none.
        """
        rows = self._db.execute(
            f"SELECT id, path, digest, vector, jpeg, checksum = {checksums.OF_ROW} FROM items"
            f" LEFT JOIN vectors ON vectors.item = id LEFT JOIN thumbnails ON thumbnails.item = id"
            f" WHERE {_VISIBLE} ORDER BY id"
        )
        for id_, path, digest, vector, thumbnail, fits in rows:
            yield id_, _path(path), digest, vector, thumbnail, None if fits is None else bool(fits)

    def other_changed_rows(self) -> list[Path]:
        """Files without a usable image of which not all is stored any more as it was written, by the row's checksum."""
        rows = self._db.execute(f"SELECT path FROM items WHERE NOT ({_VISIBLE}) AND checksum <> {checksums.OF_ROW}")
        return [_path(path) for (path,) in rows]

    def failures(self) -> list[tuple[Path, str]]:
        """Files that could not be used, with the reason, sorted by path."""
        query = f"SELECT path, error FROM items WHERE error IS NOT NULL AND {_PUBLISHED} ORDER BY path"
        return [(_path(path), error) for path, error in self._db.execute(query)]

    def roots(self) -> list[Path]:
        """The folders that were indexed."""
        sealing.check_roots(self._db)
        return [_path(path) for (path,) in self._db.execute("SELECT path FROM roots ORDER BY path")]

    def vectors(self, dim: int) -> tuple[int, NDArray[np.int64], NDArray[np.float32]]:
        """Generation, ids (n,) and vectors (n, dim) of all usable images, in the order of ids, from one snapshot."""
        with self.snapshot():
            generation, count = self.generation(), self.count()
            ids = np.empty(count, np.int64)
            matrix = np.empty((count, dim), np.float32)
            query = f"SELECT id, vector FROM items JOIN vectors ON item = id WHERE {_VISIBLE} ORDER BY id"
            rows = 0
            for id_, vector in self._db.execute(query):
                if len(vector) != 4 * dim:
                    raise sqlite3.DatabaseError(f"the vector of item {id_} has the wrong length")
                ids[rows], matrix[rows] = id_, np.frombuffer(vector, "<f4")
                rows += 1
            if rows != count:
                raise sqlite3.DatabaseError(f"{count - rows} vectors are missing")
        check_unit(ids, matrix)
        return generation, ids, matrix

    def vectors_of(self, ids: NDArray[np.int64], dim: int) -> NDArray[np.float32]:
        """Vectors (n, dim) of the usable images ``ids`` (n,), in their order; read in the file's, which is faster."""
        matrix = np.empty((len(ids), dim), np.float32)
        if FEW * len(ids) < self.count():  # to pass over all the others would take longer
            for row, id_ in enumerate(ids.tolist()):
                stored = self._db.execute("SELECT vector FROM vectors WHERE item = ?", [id_]).fetchone()
                if stored is None or len(stored[0]) != 4 * dim:
                    raise sqlite3.DatabaseError(f"the vector of item {id_} is missing or has the wrong length")
                matrix[row] = np.frombuffer(stored[0], "<f4")
            return matrix
        order = np.argsort(ids)
        query = f"SELECT id, vector FROM items JOIN vectors ON item = id WHERE {_VISIBLE} ORDER BY id"
        stored = self._db.execute(query)
        for row, wanted in zip(order.tolist(), ids[order].tolist(), strict=True):
            id_, vector = next(((id_, vector) for id_, vector in stored if id_ >= wanted), (-1, b""))
            if id_ != wanted or len(vector) != 4 * dim:
                raise sqlite3.DatabaseError(f"the vector of item {wanted} is missing or has the wrong length")
            matrix[row] = np.frombuffer(vector, "<f4")
        return matrix

    def by_quality(self) -> Iterator[tuple[int, Path, int, int, bytes | None]]:
        """Id, path, size, mtime_ns and digest of usable images: most pixels first, then most bytes, then by path."""
        query = f"SELECT id, path, size, mtime_ns, digest FROM items WHERE {_VISIBLE}"
        for id_, path, *rest in self._db.execute(f"{query} ORDER BY width * height DESC, size DESC, path"):
            yield id_, _path(path), *rest

    def vector(self, id_: int) -> NDArray[np.float32] | None:
        """The stored vector of an image, (dim,)."""
        row = self._db.execute("SELECT vector FROM vectors WHERE item = ?", [id_]).fetchone()
        return None if row is None else np.frombuffer(row[0], "<f4")

    def thumbnail(self, id_: int) -> bytes | None:
        """The thumbnail of an image, JPEG."""
        row = self._db.execute("SELECT jpeg FROM thumbnails WHERE item = ?", [id_]).fetchone()
        return None if row is None else row[0]

    def thumbnail_lengths(self) -> Iterator[tuple[int, int, int, int]]:
        """Id, width and height of each image with a thumbnail, and the thumbnail's length in bytes."""
        # SQLite knows a blob's length without reading it
        query = "SELECT items.id, width, height, length(jpeg) FROM thumbnails JOIN items ON items.id = item WHERE "
        yield from self._db.execute(query + _VISIBLE)

    def measures(self) -> dict[int, Measures]:
        """Id -> what was measured of the usable images; those of which nothing was are not in it."""
        found = dict(measure_table.read(self._db))
        if found:
            found = {id_: found[id_] for id_ in self.ids().tolist() if id_ in found}
        return found

    def put_measures(self, measured: Mapping[int, Measures]) -> None:
        """Store what was measured of images, by id, in one transaction; ids that are gone are passed over."""
        with self._db:
            here = self._db.execute("SELECT id FROM items WHERE error IS NULL")
            known = {id_ for (id_,) in here}
            measure_table.put(self._db, ((id_, found) for id_, found in measured.items() if id_ in known))

    def labels(self) -> dict[int, str]:
        """Id -> label of the usable images that have one."""
        if self.schema() < _TAKEN_SCHEMA:
            return {}
        self._check_labels()
        return dict(self._db.execute(f"SELECT id, label FROM items JOIN labels USING (digest) WHERE {_VISIBLE}"))

    def _check_labels(self) -> None:
        """Compare the labels with their checksums, once for each state of the file."""
        state = self.state()
        if state != self._labels_checked:
            sealing.check_labels(self._db)
            self._labels_checked = state

    def state(self) -> tuple[int, int]:
        """Another one after any change of the file, by whomever."""
        (version,) = self._db.execute("PRAGMA data_version").fetchone()  # changes with other connections' commits
        return version, self._db.total_changes

    def check_rows(self, ids: Iterable[int]) -> None:
        """Raise ``DatabaseError`` where what is stored of one of these items is not what was written."""
        if self.schema() < _CHECKSUM_SCHEMA:
            return
        query = f"SELECT path FROM items WHERE id = ? AND checksum <> {checksums.OF_ROW}"
        for id_ in ids:
            row = self._db.execute(query, [id_]).fetchone()
            if row is not None:
                raise sqlite3.DatabaseError(f"what is stored of {_path(row[0])} does not fit its checksum")

    # -- updating

    def set_labels(self, labels: Mapping[int, str | None]) -> list[int]:
        """Label the content of images, or take its label away (None), in one transaction.

        Returns the ids that were passed over: those of images whose content an old collection has no hash of.
        """
        self.migrate()
        passed_over: list[int] = []
        changes: dict[bytes, str | None] = {}
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._check_labels()
            for id_, label in labels.items():
                row = self._db.execute("SELECT digest FROM items WHERE id = ?", [id_]).fetchone()
                if row is None or row[0] is None:
                    passed_over.append(id_)
                else:
                    changes[row[0]] = label
            sealing.put_labels(self._db, changes)
        label_copy.append(self.folder, changes)
        return passed_over

    def known_below(self, roots: Iterable[Path]) -> dict[Path, Known]:
        """The newest row of every file at or below one of ``roots``, published or pending."""
        ctime, join = ("ctime_ns", "LEFT JOIN change_times ON item = id") if self._has_change_times() else ("NULL", "")
        query = (
            f"SELECT path, id, size, mtime_ns, generation, error, digest, {ctime} FROM items {join} ORDER BY generation"
        )
        above = set(roots)
        known = {}
        for stored, *rest in self._db.execute(query):
            path = _path(stored)
            if path in above or not above.isdisjoint(path.parents):
                known[path] = Known(*rest)
        return known

    def _has_change_times(self) -> bool:
        query = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'change_times')"
        return bool(self._db.execute(query).fetchone()[0])

    def note_change_times(self, files: Iterable[ImageFile]) -> None:
        """Remember when the file system last noted a change of these files, as far as they are known, by path.

        The table is beside the schema: older versions neither need it nor lose anything by it.
        """
        with self._db:
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS change_times"
                " (item INTEGER PRIMARY KEY REFERENCES items ON DELETE CASCADE, ctime_ns INTEGER NOT NULL)"
            )
            self._db.executemany(
                "INSERT OR REPLACE INTO change_times SELECT id, ? FROM items WHERE path = ?",
                [(file.ctime_ns, _stored(file.path)) for file in files],
            )

    def contents_of(self, sizes: Container[int]) -> Iterator[Content]:
        """Usable rows, published or pending, whose files have one of these sizes."""
        query = (
            "SELECT id, size, digest FROM items JOIN vectors ON item = id WHERE error IS NULL AND digest IS NOT NULL"
        )
        yield from (Content(*row) for row in self._db.execute(query) if row[1] in sizes)

    def selection(self) -> Selection:
        """The patterns of all roots."""
        stored = self.noted("patterns")
        try:
            return Selection.from_json(stored) if stored else Selection({})
        except (ValueError, TypeError, AttributeError):
            raise sqlite3.DatabaseError("the patterns of its roots cannot be read") from None

    def mounts(self) -> set[Path]:
        """Where other file systems were mounted that held images of the collection."""
        stored = self.noted("mounts")
        try:
            return {Path(mount) for mount in json.loads(stored)} if stored else set()
        except (ValueError, TypeError):
            raise sqlite3.DatabaseError("the list of mount points cannot be read") from None

    def add(self, entries: Iterable[Entry]) -> None:
        """Store entries as rows of the next generation, in one transaction."""
        measured: list[tuple[int, Measures]] = []
        with self._db:
            generation = self.generation() + 1
            for entry in entries:
                path = _stored(entry.path)
                self._db.execute("DELETE FROM items WHERE path = ? AND generation = ?", [path, generation])
                row = [path, entry.size, entry.mtime_ns, generation, entry.error, entry.digest,
                       entry.width, entry.height, entry.format, entry.taken and entry.taken.isoformat()]  # fmt: skip
                vector = None if entry.vector is None else np.ascontiguousarray(entry.vector, "<f4").tobytes()
                cursor = self._db.execute(
                    "INSERT INTO items"
                    " (path, size, mtime_ns, generation, error, digest, width, height, format, taken, checksum)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    [*row, checksums.row_checksum(*row, vector, entry.thumbnail)],
                )
                if vector is not None:
                    self._db.execute("INSERT INTO vectors VALUES (?, ?)", [cursor.lastrowid, vector])
                if entry.thumbnail is not None:
                    self._db.execute("INSERT INTO thumbnails VALUES (?, ?)", [cursor.lastrowid, entry.thumbnail])
                if entry.measures is not None and cursor.lastrowid is not None:
                    measured.append((cursor.lastrowid, entry.measures))
            measure_table.put(self._db, measured)

    def add_known(self, files: Iterable[tuple[ImageFile, Content]]) -> list[ImageFile]:
        """Store rows of the next generation for files whose content is known, in one transaction.

        Returns those that cannot be: the row they would be copied from is the one that they replace.
        """
        refused = []
        with self._db:
            generation = self.generation() + 1
            for file, content in files:
                path = _stored(file.path)
                self._db.execute(
                    "DELETE FROM items WHERE path = ? AND generation = ? AND id <> ?", [path, generation, content.id]
                )
                cursor = self._db.execute(
                    "INSERT OR IGNORE INTO items"
                    " (path, size, mtime_ns, generation, digest, width, height, format, taken)"
                    " SELECT ?, ?, ?, ?, digest, width, height, format, taken FROM items WHERE id = ?",
                    [path, file.size, file.mtime_ns, generation, content.id],
                )
                if cursor.rowcount != 1:
                    refused.append(file)
                    continue
                for table, column in (("vectors", "vector"), ("thumbnails", "jpeg")):
                    self._db.execute(
                        f"INSERT INTO {table} SELECT ?, {column} FROM {table} WHERE item = ?",
                        [cursor.lastrowid, content.id],
                    )
                self._db.execute(_SEAL + " WHERE id = ?", [cursor.lastrowid])
                measure_table.copy(self._db, content.id, int(cursor.lastrowid or 0))
        return refused

    def move(self, old: Path, new: Path) -> None:
        """Give all files, roots, patterns and mounts at or below ``old`` the same place below ``new``, all at once."""

        def moved(path: Path) -> Path:
            return new / path.relative_to(old) if old in (path, *path.parents) else path

        with self._db:
            rows = self._db.execute(f"SELECT id, path, checksum = {checksums.OF_ROW} FROM items").fetchall()
            for id_, stored, fits in rows:
                path = _path(stored)
                if moved(path) == path:
                    continue
                self._db.execute("UPDATE items SET path = ? WHERE id = ?", [_stored(moved(path)), id_])
                if fits:  # a row that was damaged before stays so for --verify
                    self._db.execute(_SEAL + " WHERE id = ?", [id_])
            roots = self.roots()
            self._db.execute("DELETE FROM roots")
            self._db.executemany("INSERT OR IGNORE INTO roots VALUES (?)", [[_stored(moved(root))] for root in roots])
            selection = Selection({moved(root): patterns for root, patterns in self.selection().by_root.items()})
            mounts = json.dumps(sorted(str(mount) for mount in self.mounts() if moved(mount) == mount))
            sealing.seal_roots(self._db)
            sealing.put(self._db, "patterns", selection.to_json())
            sealing.put(self._db, "mounts", mounts)

    def seal(self) -> None:
        """Give rows of older versions, which have none, a checksum of what they hold now."""
        with self._db:
            self._db.execute(_SEAL + " WHERE checksum IS NULL")

    def publish(
        self,
        gone: Iterable[Path],
        roots: Iterable[Path],
        *,
        lost_roots: Iterable[Path] = (),
        selection: Selection | None = None,
        mounts: Set[Path] | None = None,
    ) -> "Published":
        """Show the next generation to readers, without the files ``gone`` and the rows that newer ones replace.

        ``roots`` are recorded, ``lost_roots`` forgotten; ``selection`` and ``mounts`` take the place of those recorded.
        """
        with self._db:
            before = self._db.total_changes
            self._db.executemany("DELETE FROM items WHERE path = ?", [[_stored(path)] for path in gone])
            usable, known = self._db.execute(
                f"SELECT count(*), count(older.id) FROM items LEFT JOIN items older"
                f" ON older.path = items.path AND older.generation < items.generation"
                f" WHERE items.error IS NULL AND NOT items.{_PUBLISHED}"
            ).fetchone()
            self._db.execute(
                "DELETE FROM items WHERE EXISTS"
                " (SELECT 1 FROM items newer WHERE newer.path = items.path AND newer.generation > items.generation)"
            )
            pending = self._db.execute("SELECT EXISTS (SELECT 1 FROM items WHERE NOT " + _PUBLISHED + ")").fetchone()[0]
            changed = bool(pending) or self._db.total_changes > before
            if changed:
                sealing.put(self._db, "generation", str(self.generation() + 1))
            self._db.executemany("INSERT OR IGNORE INTO roots VALUES (?)", [[_stored(root)] for root in roots])
            self._db.executemany("DELETE FROM roots WHERE path = ?", [[_stored(root)] for root in lost_roots])
            sealing.seal_roots(self._db)
            if selection is not None:
                sealing.put(self._db, "patterns", selection.to_json())
            if mounts is not None and mounts != self.mounts():
                sealing.put(self._db, "mounts", json.dumps(sorted(map(str, mounts))))
        return Published(changed, usable - known, known)


_PUBLISHED = "generation <= (SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'generation')"
_VISIBLE = f"error IS NULL AND {_PUBLISHED}"
_ITEM = "id, path, size, mtime_ns, width, height, format"
_SEAL = f"UPDATE items SET checksum = {checksums.OF_ROW}"
_UNIT, _UNIT_ROWS = 4e-3, 8192  # how far a squared length may be from 1; vectors looked at together
_CHECKSUM_SCHEMA = 3  # the first with a checksum of each row
_TAKEN_SCHEMA = 2  # the first that knows when a picture was taken, and labels


def _connect(folder: Path) -> sqlite3.Connection:
    # SQLite's rollback journal, not WAL: readers then need no permission to write, nor files beside the catalog
    connection = sqlite3.connect(folder / FILE, timeout=LOCK_SECONDS, check_same_thread=False)
    connection.execute("PRAGMA foreign_keys = ON")
    checksums.add_function(connection)
    return connection


def _stored(path: Path) -> str | bytes:
    raw = os.fsencode(path)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def check_unit(ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
    """Raise ``DatabaseError`` where one of ``vectors`` (n, dim), of the items ``ids`` (n,), is not of unit length."""
    for start in range(0, len(vectors), _UNIT_ROWS):
        block = vectors[start : start + _UNIT_ROWS]
        with np.errstate(over="ignore", invalid="ignore"):
            wrong = np.flatnonzero(~(np.abs(np.einsum("ij,ij->i", block, block) - 1) <= _UNIT))  # so that NaN counts
        if len(wrong):
            raise sqlite3.DatabaseError(f"the vector of item {ids[start + wrong[0]]} is damaged")


def _path(stored: str | bytes) -> Path:
    if not isinstance(stored, str | bytes):
        raise sqlite3.DatabaseError("a stored path is no text")
    # through bytes: in a locale that is not UTF-8 Python's names are not the stored text
    return Path(os.fsdecode(stored.encode() if isinstance(stored, str) else stored))
