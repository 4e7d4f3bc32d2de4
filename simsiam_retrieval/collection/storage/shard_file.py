"""The shards of a sharded collection: Parquet files of up to about 100,000 images, with one row per input.

The file ``COLLECTION/shards/<64 hex>.parquet`` is named after its input and encoder (``shard_name``). It is written
under a temporary name and renamed. Any Parquet reader can read it.

A search reads vectors and thumbnails without a Parquet reader. These two columns are therefore neither compressed (that
would not make them smaller) nor encoded, and each row group has one page of them. So their values are in the file as
they are (``read_places``).
"""

import hashlib
import importlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...core.atomic_files import replacing
from ...core.errors import UserError
from .row_seals import of_bytes, of_vectors

FORMAT = 1
FOLDER = "shards"
SUFFIX = ".parquet"
ROW_GROUP = 1024  # rows
PREFIX = "simsiam_retrieval."  # prefix of this package's keys in a file's metadata
ONE_PAGE = 1 << 30  # page size in bytes; larger than a row group's vectors or thumbnails, so that each is one page
INSTALL = "pip install 'simsiam-retrieval[distributed]'"

_NAME = re.compile(r"[0-9a-f]{64}")
_VECTOR = "vector.list.element"  # Parquet's name of the values


@dataclass(frozen=True)
class ShardRow:
    """One input: an image, or why it has no vector.

    Attributes:
        path: Text; bytes for a name that is not UTF-8.
        size: Size in bytes.
        mtime_ns: Time of the last change, in ns; 0 if unknown.
        digest: SHA-256 of the file.
        width: Pixels, upright.
        height: Pixels, upright.
        format: JPEG, PNG, ...
        taken: YYYY-MM-DDTHH:MM:SS by the camera's clock.
        vector: (dim,), unit length.
        thumbnail: JPEG.
        reason: Why there is no vector.
    """

    path: str | bytes
    size: int
    mtime_ns: int
    digest: bytes | None = None
    width: int | None = None
    height: int | None = None
    format: str | None = None
    taken: str | None = None
    vector: NDArray[np.floating] | None = None
    thumbnail: bytes | None = None
    reason: str | None = None


class Facts(NamedTuple):
    """The content of a shard's footer.

    Attributes:
        rows: Number of rows.
        first_path: The smallest path, or "" if it is not stored.
        extra: The writer's own keys, without ``PREFIX``.
    """

    rows: int
    first_path: str
    extra: dict[str, str]


class Places(NamedTuple):
    """The positions of one row group's values in the file.

    Attributes:
        rows: Number of rows.
        vectors_at: Position of the first vector; the others follow, 2 * dim bytes each.
        thumbnails_at: Position that ``thumbnails`` count from.
        thumbnails: (rows, 2): offset and size of each; size 0 for none.
        seals: uint32 (rows, 2), CRC-32 of each vector and thumbnail; None from parts that an older version made.
    """

    rows: int
    vectors_at: int
    thumbnails_at: int
    thumbnails: NDArray[np.uint32]
    seals: NDArray[np.uint32] | None = None


# -- names and folders


def shard_name(encoder: str, inputs: Sequence[Mapping[str, object]]) -> str:
    """Compute the name of a shard.

    Args:
        encoder: Identity of the encoder.
        inputs: JSON values that identify each input and its state: path or URL, size, mtime_ns or etag, member or range
            of rows.

    Returns:
        64 hexadecimal digits.
    """
    content = json.dumps([FORMAT, encoder, *inputs], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


def shard_file(collection: Path, name: str) -> Path:
    """Return the file of a shard.

    Args:
        collection: The collection's folder.
        name: Name of the shard.

    Returns:
        The file.
    """
    return collection / FOLDER / f"{name}{SUFFIX}"


def shard_names(collection: Path) -> list[str]:
    """List the shards in a collection's folder.

    Args:
        collection: The collection's folder.

    Returns:
        Names, sorted.
    """
    files = (collection / FOLDER).glob(f"*{SUFFIX}")
    return sorted(file.stem for file in files if _NAME.fullmatch(file.stem))


# -- writing


def schema(dim: int) -> Any:
    """Return the Arrow schema of a shard.

    Args:
        dim: Values per vector.

    Returns:
        The schema.
    """
    pa = _arrow()
    return pa.schema(
        [
            pa.field("path", pa.string(), nullable=False),  # readable
            ("path_bytes", pa.binary()),  # where ``path`` is not exact
            ("digest", pa.binary(32)),
            pa.field("size", pa.int64(), nullable=False),
            pa.field("mtime_ns", pa.int64(), nullable=False),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("format", pa.string()),
            ("taken", pa.string()),
            # zeros if there is a reason: older versions of Arrow fail on null lists, and they would shift positions
            pa.field("vector", pa.list_(pa.field("element", pa.float16(), nullable=False), dim), nullable=False),
            ("thumbnail", pa.binary()),
            ("reason", pa.string()),
        ]
    )


def to_table(rows: Sequence[ShardRow], dim: int) -> Any:
    """Convert rows to an Arrow table. Vectors are rounded to float16.

    Args:
        rows: The rows.
        dim: Values per vector.

    Returns:
        The table.

    Raises:
        ValueError: A row has both a vector and a reason, or neither, or its vector is not (dim,) and finite.
    """
    pa = _arrow()
    vectors = np.zeros((len(rows), dim), np.float16)
    for number, row in enumerate(rows):
        if (row.vector is None) == (row.reason is None):
            raise ValueError(f"{row.path!r}: a row has either a vector or a reason why there is none")
        if row.vector is not None:
            if row.vector.shape != (dim,) or not np.isfinite(row.vector).all() or not row.vector.any():
                raise ValueError(f"{row.path!r}: expected a finite vector of {dim} values that are not all zero")
            vectors[number] = row.vector
    found = schema(dim)
    columns = {
        "path": [_readable(row.path) for row in rows],
        "path_bytes": [row.path if isinstance(row.path, bytes) else None for row in rows],
        **{
            name: [getattr(row, name) for row in rows]
            for name in ("digest", "size", "mtime_ns", "width", "height", "format", "taken", "thumbnail", "reason")
        },
    }
    arrays = [
        pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel(), pa.float16()), type=field.type)
        if field.name == "vector"
        else pa.array(columns[field.name], field.type)
        for field in found
    ]
    return pa.Table.from_arrays(arrays, schema=found)


def write_table(table: Any, sink: Path | IO[bytes], *, encoder: str, dim: int, extra: Mapping[str, str] = {}) -> None:
    """Write a table in row groups.

    Args:
        table: From ``to_table``.
        sink: A file, or an object that accepts bytes.
        encoder: Identity of the encoder.
        dim: Values per vector.
        extra: Further metadata; ``status`` shows ``source``, the name that the user gave.
    """
    facts = {"format": str(FORMAT), "encoder": encoder, "dim": str(dim), **extra}
    table = table.replace_schema_metadata({PREFIX + key: value for key, value in facts.items()})
    plain = {_VECTOR, "thumbnail"}
    names = [field.name if field.name != "vector" else _VECTOR for field in table.schema]
    _parquet().write_table(
        table,
        sink,
        row_group_size=ROW_GROUP,
        use_dictionary=["format", "reason"],
        compression={name: "NONE" if name in plain else "ZSTD" for name in names},
        write_statistics=["path", "reason"],
        data_page_size=ONE_PAGE,
        write_page_checksum=True,
    )


def write_shard(
    collection: Path, name: str, rows: Sequence[ShardRow], *, encoder: str, dim: int, extra: Mapping[str, str] = {}
) -> Path:
    """Write a shard in one step.

    Args:
        collection: The collection's folder.
        name: Name of the shard.
        rows: The rows.
        encoder: Identity of the encoder.
        dim: Values per vector.
        extra: Further metadata.

    Returns:
        The file.
    """
    file = shard_file(collection, name)
    file.parent.mkdir(exist_ok=True)
    with replacing(file) as temporary:
        write_table(to_table(rows, dim), temporary, encoder=encoder, dim=dim, extra=extra)
    return file


# -- reading


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
            start, content = _chunk(parquet, group, "vector.list.element", raw)
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
            self._parquet = _parquet().ParquetFile(self._file, page_checksum_verification=True)
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


def _readable(path: str | bytes) -> str:
    return path if isinstance(path, str) else path.decode("utf-8", "backslashreplace")


def _arrow() -> Any:
    return _imported("pyarrow")


def _parquet() -> Any:
    return _imported("pyarrow.parquet")


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)  # imported late, because searching does not need it
    except ImportError:
        raise UserError(f"building a sharded collection needs pyarrow, which is not installed: {INSTALL}") from None
