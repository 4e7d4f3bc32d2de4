"""Parquet files in a folder or a bucket, one per tile."""

import hashlib
import posixpath
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..core.errors import UserError
from .ownership_mark import PREFIX, Mark
from .rows import Rows, Tile
from .target import Change, Target
from .target_location import check_address, installed, is_address, local_folder, one_line

TILE = f"{PREFIX}tile"  # metadata key: hash of the rows of a file
SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs")  # supported by pyarrow
ROW_GROUP = 10_000

_NAME = re.compile(r"part-(\d{5,})\.parquet")


def open_parquet(place: str, mark: Mark, *, replace: bool) -> "Parquet":
    """Open a folder of Parquet files, or create it.

    Args:
        place: Folder or address.
        mark: Mark of the collection.
        replace: Whether to overwrite files of another collection.

    Returns:
        The target.

    Raises:
        UserError: The folder contains something else, or cannot be written.
    """
    installed("pyarrow", "parquet")
    from pyarrow import fs

    if is_address(place):
        check_address(place, SCHEMES, "the cloud's own variables")
        with _explained(place):
            files, folder = fs.FileSystem.from_uri(place)
            files.create_dir(folder)
    else:
        place = folder = str(local_folder(place))
        files = fs.LocalFileSystem()
    target = Parquet(files, folder, place, mark)
    with target.explained():
        target.claim(replace=replace)
    return target


class Parquet(Target):
    """A folder of ``part-NNNNN.parquet``. Each file is written under a temporary name and then renamed."""

    span = 50_000

    def __init__(self, files, folder: str, where: str, mark: Mark) -> None:
        from . import arrow

        self._files, self._folder, self.where, self._mark = files, folder, where, mark
        self._schema = arrow.schema(mark)
        self._seen: set[int] = set()

    def claim(self, *, replace: bool) -> None:
        """Check that the files belong to this collection.

        Args:
            replace: Whether to delete files of another collection.

        Raises:
            UserError: The folder contains other files.
        """
        from pyarrow import fs

        found = self._files.get_file_info(fs.FileSelector(self._folder))
        names = {info.base_name for info in found if not info.base_name.startswith(".")}
        strange = sorted(name for name in names if not _NAME.fullmatch(name))
        if strange:
            raise UserError(f"{self.where}: has other files in it ({strange[0]}); choose an empty or new folder")
        for number in sorted(self._parts()):
            if not self._mark.is_kept(self._metadata(number), self.where, replace=replace):
                self._files.delete_file(self._file(number))

    def write(self, tile: Tile) -> Change:
        """See ``Target.write``."""
        self._seen.add(tile.number)
        file = self._file(tile.number)
        there = self._metadata(tile.number)
        expected = _hash(tile.rows)
        if there is not None and there.get(TILE) == expected and self._sound(tile):
            return Change(kept=len(tile.rows))
        before = self._hashes(tile.number) if there is not None else {}
        self._put(file, tile.rows, expected)
        ids = tile.rows.ids.tolist()
        kept = sum(before.get(id_) == fact["row_hash"] for id_, fact in zip(ids, tile.rows.facts, strict=True))
        return Change(len(ids) - kept, kept, len(before.keys() - set(ids)))

    def finish(self, last: int) -> Change:
        """See ``Target.finish``."""
        removed = 0
        for number in self._parts() - self._seen:
            removed += len(self._hashes(number))
            self._files.delete_file(self._file(number))
        self._seen.clear()
        return Change(removed=removed)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """See ``Target.explained``."""
        with _explained(self.where):
            yield

    def how_to_query(self, encoder: Path) -> list[str]:
        """See ``Target.how_to_query``."""
        return [
            "import numpy as np, pyarrow.dataset as ds",
            "from simsiam_retrieval import load_encoder",
            f"rows = ds.dataset({self.where!r}).to_table(['path', 'vector'])  # filter=ds.field('size') > 100_000",
            "vectors = np.stack(rows['vector'].to_numpy())",
            f"scores = vectors @ load_encoder({str(encoder)!r}).embed(['query.jpg'])[0]",
            "for row in np.argsort(-scores)[:10].tolist(): print(scores[row], rows['path'][row])",
        ]

    def close(self) -> None:
        """See ``Target.close``."""
        pass

    def _file(self, number: int) -> str:
        return posixpath.join(self._folder, f"part-{number:05d}.parquet")

    def _parts(self) -> set[int]:
        from pyarrow import fs

        found = self._files.get_file_info(fs.FileSelector(self._folder))
        return {int(match[1]) for info in found if (match := _NAME.fullmatch(info.base_name))}

    def _metadata(self, number: int) -> dict[str, str] | None:
        """Metadata of a file; empty if hand_over did not write it, None if there is no file."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if number not in self._parts():
            return None
        try:
            noted = pq.read_schema(self._file(number), filesystem=self._files).metadata or {}
        except FileNotFoundError:
            return None
        except (pa.ArrowInvalid, OSError):  # not Parquet, cut off, or damaged
            return {}
        return {key.decode(errors="replace"): value.decode(errors="replace") for key, value in noted.items()}

    def _hashes(self, number: int) -> dict[int, str]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            held = pq.read_table(self._file(number), columns=["id", "row_hash"], filesystem=self._files)
        except (pa.ArrowInvalid, OSError):  # damaged: it is written anew, or removed
            return {}
        return dict(zip(held["id"].to_pylist(), held["row_hash"].to_pylist(), strict=True))

    def _sound(self, tile: Tile) -> bool:
        """Whether a file of this machine holds what it says; one in a bucket would have to be fetched for that."""
        import pyarrow as pa
        import pyarrow.parquet as pq
        from pyarrow import fs

        from . import arrow

        if not isinstance(self._files, fs.LocalFileSystem):
            return True
        try:
            held = pq.read_table(self._file(tile.number), filesystem=self._files, use_threads=False)
        except (pa.ArrowException, OSError):
            return False
        return held.equals(arrow.as_table(tile.rows, self._schema))

    def _put(self, file: str, rows: Rows, hashed: str) -> None:
        import pyarrow.parquet as pq

        from . import arrow

        table = arrow.as_table(rows, self._schema).replace_schema_metadata({**self._mark.as_metadata(), TILE: hashed})
        aside = posixpath.join(self._folder, f".{posixpath.basename(file)}.tmp")
        with self._files.open_output_stream(aside) as stream:
            repeated: Any = ["format", "label"]  # pyarrow's stubs know only bool
            pq.write_table(
                table,
                stream,
                compression="zstd",
                row_group_size=ROW_GROUP,
                use_dictionary=repeated,
                write_page_checksum=True,
            )
        self._files.move(aside, file)


def _hash(rows: Rows) -> str:
    hashed = hashlib.blake2b(digest_size=16)
    for id_, fact in zip(rows.ids.tolist(), rows.facts, strict=True):
        hashed.update(f"{id_} {fact['row_hash']}\n".encode())
    return hashed.hexdigest()


@contextmanager
def _explained(where: str) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{where}: cannot be written or read ({one_line(error)})") from None
