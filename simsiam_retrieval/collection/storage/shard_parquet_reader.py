"""Reading shards with Parquet's own reader, which verifies checksums: what builds and checks a sharded collection."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import UserError
from .row_seals import of_bytes, of_vectors
from .shard_file import FORMAT, PREFIX, ROW_GROUP, VECTOR, Facts, Places, pyarrow_parquet, schema


def read_facts(file: Path, encoder: str, dim: int) -> Facts:
    """Read a shard's footer.

    Args:
        file: The shard.
        encoder: Identity of the collection's encoder.
        dim: Values per vector.

    Returns:
        The footer's content.

    Raises:
        UserError: The shard is missing, damaged, of another format, or of another encoder.
    """
    with opened(file) as parquet:
        noted = {key.decode(): value.decode() for key, value in (parquet.schema_arrow.metadata or {}).items()}
        facts = {key.removeprefix(PREFIX): value for key, value in noted.items() if key.startswith(PREFIX)}
        found = facts.get("format")
        if found != str(FORMAT):
            older = "made by a newer version of this package" if found and found.isdigit() else "not a shard"
            raise UserError(f"{file}: {older} (format {found}); move it away")
        if (facts.get("encoder"), facts.get("dim")) != (encoder, str(dim)):
            raise UserError(
                f"{file}: made by another encoder ({facts.get('encoder')}, {facts.get('dim')} values) than this "
                f"collection ({encoder}, {dim}); move it away"
            )
        if not parquet.schema_arrow.equals(schema(dim)):
            raise UserError(f"{file}: its columns are not those of a shard; move it away")
        groups = parquet.metadata
        if any(groups.row_group(at).num_rows > ROW_GROUP for at in range(groups.num_row_groups)):
            raise UserError(f"{file}: its row groups have more than {ROW_GROUP} rows; move it away")
        firsts = [_smallest_path(groups.row_group(at)) for at in range(groups.num_row_groups)]
        first = min((path for path in firsts if path), default="")
        return Facts(groups.num_rows, first, {k: v for k, v in facts.items() if k not in ("format", "encoder", "dim")})


def read_rows(file: Path) -> Iterator[list[dict[str, Any]]]:
    """Read all columns except vectors and thumbnails.

    Args:
        file: The shard.

    Yields:
        A list of rows for each row group; ``path`` is exact: text or bytes.
    """
    names = ["path", "path_bytes", "digest", "size", "mtime_ns", "width", "height", "format", "taken", "reason"]
    with opened(file) as parquet:
        for group in range(parquet.num_row_groups):
            rows = parquet.read_row_group(group, columns=names, use_threads=False).to_pylist()
            for row in rows:
                exact = row.pop("path_bytes")
                row["path"] = row["path"] if exact is None else exact
            yield rows


def read_vectors(file: Path, groups: Sequence[int] | None = None) -> Iterator[NDArray[np.float16]]:
    """Read vectors.

    Args:
        file: The shard.
        groups: Numbers of row groups; None for all.

    Yields:
        float16 (rows, dim) for each row group; zeros if a row has no vector.
    """
    with opened(file) as parquet:
        for group in range(parquet.num_row_groups) if groups is None else groups:
            yield _vectors(parquet, group)


def read_places(file: Path) -> Iterator[tuple[Places, NDArray[np.float16]]]:
    """Find the positions of all values in the file, and compare every value with Parquet's own reader.

    Args:
        file: The shard.

    Yields:
        For each row group: the positions, and the vectors, float16 (rows, dim).

    Raises:
        UserError: The file is damaged, or the values are not in it as they are.
    """
    with opened(file) as parquet, file.open("rb") as raw:
        for group in range(parquet.num_row_groups):
            vectors = _vectors(parquet, group)
            start, content = _chunk(parquet, group, VECTOR, raw)
            at = content.find(vectors.tobytes())
            if at < 0:
                raise UserError(f"{file}: compressed, or not written by this package; make this shard again")
            column = parquet.read_row_group(group, columns=["thumbnail"], use_threads=False)["thumbnail"]
            jpegs = column.to_pylist()
            thumbnails_at, content = _chunk(parquet, group, "thumbnail", raw)
            seals = np.stack([of_vectors(vectors), of_bytes(jpeg or b"" for jpeg in jpegs)], axis=1)
            yield Places(len(vectors), start + at, thumbnails_at, _located(jpegs, content, file), seals), vectors


def check(file: Path) -> None:
    """Verify all checksums of a shard.

    Args:
        file: The shard.

    Raises:
        UserError: It is damaged.
    """
    with opened(file) as parquet:
        for group in range(parquet.num_row_groups):
            parquet.read_row_group(group, use_threads=False)


class opened:
    """A shard in Parquet's own reader, which verifies checksums. Errors become one line for the user.

    Args:
        file: The shard.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def __enter__(self) -> Any:
        try:
            self._parquet = pyarrow_parquet().ParquetFile(self._file, page_checksum_verification=True)
        except (OSError, ValueError) as error:
            raise self._explained(error) from None
        return self._parquet

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._parquet.close()
        if isinstance(error, OSError | ValueError):
            raise self._explained(error) from None

    def _explained(self, error: OSError | ValueError) -> UserError:
        if isinstance(error, FileNotFoundError):
            return UserError(f"{self._file}: this shard is gone; put it back, or build the collection without it")
        return UserError(
            f"{self._file}: a damaged shard ({' '.join(str(error).split())[:120]}); "
            "delete it and embed its images again, or build the collection without it"
        )


def _vectors(parquet: Any, group: int) -> NDArray[np.float16]:
    column = parquet.read_row_group(group, columns=["vector"], use_threads=False)["vector"].combine_chunks()
    return column.flatten().to_numpy(zero_copy_only=False).astype(np.float16, copy=False).reshape(len(column), -1)


def _chunk(parquet: Any, group: int, name: str, raw: IO[bytes]) -> tuple[int, bytes]:
    """Position of the first byte, and all bytes, of one column of a row group."""
    columns = parquet.metadata.row_group(group)
    column = next(c for c in map(columns.column, range(columns.num_columns)) if c.path_in_schema == name)
    start = column.data_page_offset
    if column.dictionary_page_offset is not None:
        start = min(start, column.dictionary_page_offset)
    raw.seek(start)
    return start, raw.read(column.total_compressed_size)


def _located(jpegs: list[bytes | None], content: bytes, file: Path) -> NDArray[np.uint32]:
    found = np.zeros((len(jpegs), 2), np.uint32)
    position = 0
    for number, jpeg in enumerate(jpegs):
        if jpeg:
            at = content.find(jpeg, position)
            if at < 0:
                raise UserError(f"{file}: compressed, or not written by this package; make this shard again")
            found[number] = at, len(jpeg)
            position = at + len(jpeg)
    return found


def _smallest_path(group: Any) -> str:
    columns = map(group.column, range(group.num_columns))
    statistics = next(column for column in columns if column.path_in_schema == "path").statistics
    return str(statistics.min) if statistics is not None and statistics.has_min_max else ""
