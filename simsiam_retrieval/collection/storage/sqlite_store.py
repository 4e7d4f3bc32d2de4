"""The store of a plain collection: one SQLite file with a row, a vector and a thumbnail for every image."""

import json
from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import ClassVar

from ...images.files import ImageFile
from ...images.measures import Measures
from ..index.index_kinds import KINDS
from ..types import Content, Entry, Published, Regions
from ..update.patterns import Selection
from . import checksums, listing_seal, measure_table, region_table, schema, sealing, vector_bytes, vector_table
from .capabilities import EVERYTHING, Capability
from .catalog_file import PUBLISHED, path_of, stored_path
from .sqlite_reads import CHECKSUM_SCHEMA, SqliteReads


class SqliteStore(SqliteReads):
    """Everything in one file; images are added, changed and forgotten one by one. One thread at a time."""

    tables = schema.TABLES
    index_kinds: ClassVar[tuple[str, ...]] = KINDS
    capabilities: ClassVar[Mapping[Capability, int | None]] = EVERYTHING

    def note_change_times(self, files: Iterable[ImageFile]) -> None:
        """Remember when the file system last noted a change of these files, as far as they are known, by path.

        The table is beside the schema: older versions neither need it nor lose anything by it.

        Args:
            files: The files.
        """
        with self._db:
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS change_times"
                " (item INTEGER PRIMARY KEY REFERENCES items ON DELETE CASCADE, ctime_ns INTEGER NOT NULL)"
            )
            self._db.executemany(
                "INSERT OR REPLACE INTO change_times SELECT id, ? FROM items WHERE path = ?",
                [(file.ctime_ns, stored_path(file.path)) for file in files],
            )

    def put_measures(self, measured: Mapping[int, Measures]) -> None:
        """Store what was measured of images, in one transaction; ids that are gone are passed over.

        Args:
            measured: Item id -> measures.
        """
        with self._db:
            here = self._db.execute("SELECT id FROM items WHERE error IS NULL")
            known = {id_ for (id_,) in here}
            measure_table.put(self._db, ((id_, found) for id_, found in measured.items() if id_ in known))

    def put_regions(self, found: Mapping[int, Regions]) -> None:
        """Store the regions of images, in one transaction; ids that are gone are passed over.

        Args:
            found: Item id -> regions.
        """
        with self._db:
            known = {id_ for id_ in found if self._db.execute("SELECT 1 FROM items WHERE id = ?", [id_]).fetchone()}
            region_table.put(self._db, ((id_, regions) for id_, regions in found.items() if id_ in known))

    def forget_regions(self) -> None:
        """Delete all regions, in one transaction."""
        with self._db:
            region_table.forget(self._db)

    def add(self, entries: Iterable[Entry]) -> None:
        """Store entries as rows of the next generation, in one transaction.

        Args:
            entries: The entries.
        """
        measured: list[tuple[int, Measures]] = []
        parts: list[tuple[int, Regions]] = []
        with self._db:
            generation = self.generation() + 1
            for entry in entries:
                path = stored_path(entry.path)
                self._db.execute("DELETE FROM items WHERE path = ? AND generation = ?", [path, generation])
                row = [path, entry.size, entry.mtime_ns, generation, entry.error, entry.digest,
                       entry.width, entry.height, entry.format, entry.taken and entry.taken.isoformat()]  # fmt: skip
                vector = None if entry.vector is None else vector_bytes.to_bytes(entry.vector)
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
                if entry.regions is not None and cursor.lastrowid is not None:
                    parts.append((cursor.lastrowid, entry.regions))
            measure_table.put(self._db, measured)
            if parts:
                region_table.put(self._db, parts)

    def add_known(self, files: Iterable[tuple[ImageFile, Content]]) -> list[ImageFile]:
        """Store rows of the next generation for files whose content is known, in one transaction.

        Args:
            files: The files, and their contents.

        Returns:
            Files that cannot be stored: the row they would be copied from is damaged, or is the one that they replace.
        """
        refused = []
        sound = f"SELECT checksum IS NULL OR checksum = {checksums.OF_ROW} FROM items WHERE id = ?"
        with self._db:
            generation = self.generation() + 1
            for file, content in files:
                if self._db.execute(sound, [content.id]).fetchone() != (1,):
                    refused.append(file)
                    continue
                path = stored_path(file.path)
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
                self._db.execute(checksums.SEAL + " WHERE id = ?", [cursor.lastrowid])
                measure_table.copy(self._db, content.id, int(cursor.lastrowid or 0))
                region_table.copy(self._db, content.id, int(cursor.lastrowid or 0))
        return refused

    def round_vectors(self, dim: int) -> int:
        """Store the float32 vectors of older versions with 16 bits; it may be interrupted at any moment.

        Args:
            dim: Values per vector.

        Returns:
            How many were rounded.
        """
        self.migrate()
        return vector_table.round_older(self._db, dim)

    def move(self, old: Path, new: Path) -> None:
        """Give all files, roots, patterns and mounts at or below a path the same place below another one, all at once.

        Args:
            old: The old path.
            new: The new path.
        """

        def moved(path: Path) -> Path:
            return new / path.relative_to(old) if old in (path, *path.parents) else path

        with self._db:
            listed = listing_seal.fits(self._db, self.generation())
            rows = self._db.execute(f"SELECT id, path, checksum = {checksums.OF_ROW} FROM items").fetchall()
            for id_, stored, fits in rows:
                path = path_of(stored)
                if moved(path) == path:
                    continue
                self._db.execute("UPDATE items SET path = ? WHERE id = ?", [stored_path(moved(path)), id_])
                if fits:  # a row that was damaged before stays so for --verify
                    self._db.execute(checksums.SEAL + " WHERE id = ?", [id_])
            roots = self.roots()
            self._db.execute("DELETE FROM roots")
            self._db.executemany(
                "INSERT OR IGNORE INTO roots VALUES (?)", [[stored_path(moved(root))] for root in roots]
            )
            selection = Selection({moved(root): patterns for root, patterns in self.selection().by_root.items()})
            mounts = json.dumps(sorted(str(mount) for mount in self.mounts() if moved(mount) == mount))
            sealing.seal_roots(self._db)
            sealing.put(self._db, "patterns", selection.to_json())
            sealing.put(self._db, "mounts", mounts)
            if listed:
                listing_seal.put(self._db, self.generation())

    def seal(self) -> None:
        """Give rows of older versions a checksum of what they hold now; and all digests and facts one.

        Only after all rows were compared with the checksums that they have.
        """
        with self._db:
            self._db.execute(checksums.SEAL + " WHERE checksum IS NULL")
            sealing.seal_digests(self._db, self.generation())
            listing_seal.put(self._db, self.generation())

    def damaged_rows(self, *, pending: bool = True) -> dict[int, Path]:
        """Find rows that do not fit their checksums.

        Args:
            pending: Whether to look at rows that are not published, too.

        Returns:
            Row id -> path.
        """
        if self.schema() < CHECKSUM_SCHEMA:
            return {}
        with self.one_state():
            generation = self.generation()
            fitting = self._facts_checked == generation or listing_seal.fits(self._db, generation)
            if fitting is None and not sealing.digests_fit(self._db, generation):
                fitting = False
            if fitting:
                self._facts_checked = generation
            return listing_seal.damaged_rows(self._db, fitting, pending=pending)

    def discard_pending(self, ids: Iterable[int]) -> None:
        """Delete those of these rows that are not published: of a later generation they would hide the new ones.

        Args:
            ids: Row ids.
        """
        with self._db:
            self._db.executemany(f"DELETE FROM items WHERE id = ? AND NOT {PUBLISHED}", [[id_] for id_ in ids])

    def publish(
        self,
        gone: Iterable[Path],
        roots: Iterable[Path],
        *,
        lost_roots: Iterable[Path] = (),
        selection: Selection | None = None,
        mounts: Set[Path] | None = None,
    ) -> Published:
        """Show the next generation to readers, without files that are gone and rows that newer ones replace.

        Damaged rows that stay are not sealed: lists refuse them until they are mended.

        Args:
            gone: The files that are gone.
            roots: Roots to record.
            lost_roots: Roots to forget.
            selection: Patterns in place of those recorded; None keeps them.
            mounts: Mount points in place of those recorded; None keeps them.

        Returns:
            What changed.
        """
        with self._db:
            damaged = self.damaged_rows(pending=False)
            is_sealed = self._facts_checked == self.generation()
            before = self._db.total_changes
            self._db.executemany("DELETE FROM items WHERE path = ?", [[stored_path(path)] for path in gone])
            usable, known = self._db.execute(
                f"SELECT count(*), count(older.id) FROM items LEFT JOIN items older"
                f" ON older.path = items.path AND older.generation < items.generation"
                f" WHERE items.error IS NULL AND NOT items.{PUBLISHED}"
            ).fetchone()
            self._db.execute(
                "DELETE FROM items WHERE EXISTS"
                " (SELECT 1 FROM items newer WHERE newer.path = items.path AND newer.generation > items.generation)"
            )
            pending = self._db.execute("SELECT EXISTS (SELECT 1 FROM items WHERE NOT " + PUBLISHED + ")").fetchone()[0]
            changed = bool(pending) or self._db.total_changes > before
            if changed:
                sealing.put(self._db, "generation", str(self.generation() + 1))
                sealing.seal_digests(self._db, self.generation())
            there = "SELECT 1 FROM items WHERE id = ?"
            left = [path for id_, path in damaged.items() if self._db.execute(there, [id_]).fetchone()]
            if changed or not is_sealed:
                listing_seal.put(self._db, self.generation(), sound=not left)
            self._db.executemany("INSERT OR IGNORE INTO roots VALUES (?)", [[stored_path(root)] for root in roots])
            self._db.executemany("DELETE FROM roots WHERE path = ?", [[stored_path(root)] for root in lost_roots])
            sealing.seal_roots(self._db)
            if selection is not None:
                sealing.put(self._db, "patterns", selection.to_json())
            if mounts is not None and mounts != self.mounts():
                sealing.put(self._db, "mounts", json.dumps(sorted(map(str, mounts))))
        return Published(changed, usable - known, known, left)
