"""The catalog: what both kinds of store keep in SQLite: settings, labels, and a row for every file.

Rows carry the generation they belong to. Readers see rows up to the published generation; an update adds rows of
the next one in batches and publishes them, together with all removals, in one transaction at its end. So readers
see the old state or the new one, and an update that was killed leaves its finished batches to the next.
"""

import contextlib
import itertools
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ...core.atomic_files import replacing
from ...images.measures import Measures
from ..duplicates.backup_names import backup_parts
from ..types import Item, Record
from . import label_copy, measure_table, schema, sealing
from .catalog_file import FILE, PUBLISHED, VISIBLE, connect, path_of, stored_path

ITEM = "id, path, size, mtime_ns, width, height, format"
TAKEN_SCHEMA = 2  # the first that knows when a picture was taken, and labels


class Catalog:
    """Access to ``catalog.sqlite``. One thread at a time; errors as sqlite3 raises them."""

    tables: ClassVar[str]

    def __init__(self, folder: Path, connection: sqlite3.Connection) -> None:
        self.folder = folder
        self._db = connection
        self._labels_checked: tuple[int, int] | None = None

    @classmethod
    def create(cls, folder: Path, meta: dict[str, str]) -> Self:
        """Make a new catalog in an existing folder.

        Args:
            folder: The collection's folder.
            meta: Settings.

        Returns:
            The catalog.
        """
        # a catalog is there whole or not at all
        with replacing(folder / FILE) as temporary, contextlib.closing(sqlite3.connect(temporary)) as connection:
            connection.execute("PRAGMA journal_mode = OFF")  # a process that is killed leaves no journal beside it
            with connection:
                connection.executescript("BEGIN;" + cls.tables)
                for key, value in {"schema": str(schema.NEWEST), "generation": "0", **meta}.items():
                    sealing.put(connection, key, value)
                sealing.seal_roots(connection)
                sealing.seal_labels(connection)
        return cls(folder, connect(folder))

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
        """Return all labels, whether their images are in the collection now or not.

        Yields:
            Digest and label.
        """
        if self.schema() >= TAKEN_SCHEMA:
            yield from self._db.execute("SELECT digest, label FROM labels")

    def close(self) -> None:
        self._db.close()

    def meta(self, key: str) -> str:
        value = self.noted(key)
        if value is None:
            raise sqlite3.DatabaseError(f"no {key} in it")
        return value

    def noted(self, key: str) -> str | None:
        """What ``note`` stored under this key, if it did."""
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

    @contextmanager
    def one_state(self) -> Iterator[None]:
        """Like ``snapshot``, also if the caller has begun a transaction: then that one serves.

        Yields:
            None.
        """
        if self._db.in_transaction:
            yield
        else:
            with self.snapshot():
                yield

    @staticmethod
    def item_of_row(row: tuple) -> Item:
        """Make an item of a row.

        Args:
            row: id, path, size, mtime_ns, width, height, format and taken.

        Returns:
            The item.

        Raises:
            DatabaseError: The values cannot be right.
        """
        whole = all(type(value) is int for value in (row[0], *row[2:6])) and isinstance(row[6], str)
        try:
            taken = None if row[7] is None else datetime.fromisoformat(row[7])
        except (ValueError, TypeError):
            whole, taken = False, None
        if not whole:
            raise sqlite3.DatabaseError(f"what is stored of item {row[0]} cannot be right")
        return Item(row[0], path_of(row[1]), *row[2:7], taken=taken)

    def _columns(self) -> str:
        return f"{ITEM}, {'taken' if self.schema() >= TAKEN_SCHEMA else 'NULL'}"

    # -- reading

    def items_by_id(self, ids: Iterable[int]) -> dict[int, Item]:
        """Usable images among ``ids``."""
        found = {}
        query = f"SELECT {self._columns()} FROM items WHERE id = ? AND {VISIBLE}"
        for id_ in ids:
            row = self._db.execute(query, [int(id_)]).fetchone()
            if row is not None:
                found[row[0]] = self.item_of_row(row)
        return found

    def item_at(self, path: Path) -> Item | None:
        """The usable image of this file."""
        row = self._db.execute(
            f"SELECT {self._columns()} FROM items WHERE path = ? AND {VISIBLE} ORDER BY generation DESC",
            [stored_path(path)],
        ).fetchone()
        return None if row is None else self.item_of_row(row)

    def records(self, after: int, upto: int) -> list[Record]:
        """Usable images with ids in (after, upto], in the order of ids, with digest and label."""
        label, join = "NULL", ""
        with self.one_state():  # labels and their checksum, while others may be labelling
            if self.schema() >= TAKEN_SCHEMA:
                self._check_labels()
                label, join = "label", "LEFT JOIN labels USING (digest)"
            rows = self._db.execute(
                f"SELECT {self._columns()}, digest, {label} FROM items {join}"
                f" WHERE id > ? AND id <= ? AND {VISIBLE} ORDER BY id",
                [after, upto],
            )
            return [Record(self.item_of_row(row[:8]), row[8], row[9] or "") for row in rows]

    def next_id(self, after: int) -> int | None:
        """The lowest id of a usable image beyond ``after``, or None."""
        return self._db.execute(f"SELECT min(id) FROM items WHERE id > ? AND {VISIBLE}", [after]).fetchone()[0]

    def ids(self) -> NDArray[np.int64]:
        """Ids of usable images, ascending."""
        rows = self._db.execute(f"SELECT id FROM items WHERE {VISIBLE} ORDER BY id")
        return np.fromiter((id_ for (id_,) in rows), np.int64)

    def failures(self, *, checked: bool = True) -> list[tuple[Path, str]]:
        """Files that could not be used, with the reason, sorted by path; ``checked``: see ``_check_facts``."""
        if checked:
            self._check_facts()
        query = f"SELECT path, error FROM items WHERE error IS NOT NULL AND {PUBLISHED} ORDER BY path"
        return [(path_of(path), error) for path, error in self._db.execute(query)]

    def by_quality(self) -> Iterator[tuple[int, Path, int, int, bytes | None]]:
        """Id, path, size, mtime_ns and digest of usable images: most pixels first, then most bytes; then those whose
        path looks least like a backup or copy; then by path.
        """
        self._check_facts()
        query = f"SELECT width * height, size, id, path, mtime_ns, digest FROM items WHERE {VISIBLE}"
        rows = self._db.execute(f"{query} ORDER BY width * height DESC, size DESC, path")
        for (_, size), alike in itertools.groupby(rows, key=lambda row: row[:2]):
            found = [(id_, path_of(path), size, *rest) for _, _, id_, path, *rest in alike]
            yield from found if len(found) == 1 else sorted(found, key=lambda row: backup_parts(row[1]))

    def labels(self) -> dict[int, str]:
        """Id -> label of the usable images that have one."""
        with self.one_state():  # labels and their checksum, while others may be labelling
            if self.schema() < TAKEN_SCHEMA:
                return {}
            self._check_labels()
            return dict(self._db.execute(f"SELECT id, label FROM items JOIN labels USING (digest) WHERE {VISIBLE}"))

    def measures(self) -> dict[int, Measures]:
        """Id -> what was measured of the usable images; those of which nothing was are not in it."""
        found = dict(measure_table.read(self._db))
        if found:
            found = {id_: found[id_] for id_ in self.ids().tolist() if id_ in found}
        return found

    def _check_facts(self) -> None:
        """Raise ``DatabaseError`` where what lists show is not what was written; see each kind of store."""

    def _check_labels(self) -> None:
        """Compare the labels with their checksums, once for each state of the file."""
        state = self.state()
        if state != self._labels_checked:
            sealing.check_labels(self._db)
            self._labels_checked = state

    def state(self) -> tuple[int, int]:
        """Return the state of the file.

        Returns:
            Numbers that differ after any change of the file, by whomever.
        """
        (version,) = self._db.execute("PRAGMA data_version").fetchone()  # changes with other connections' commits
        return version, self._db.total_changes

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
