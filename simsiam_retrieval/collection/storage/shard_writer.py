"""Writing the shards of a sharded collection."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from ...core.atomic_files import replacing
from .shard_file import (
    FORMAT,
    ONE_PAGE,
    PREFIX,
    ROW_GROUP,
    VECTOR,
    ShardRow,
    pyarrow,
    pyarrow_parquet,
    schema,
    shard_file,
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
    pa = pyarrow()
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
    plain = {VECTOR, "thumbnail"}
    names = [field.name if field.name != "vector" else VECTOR for field in table.schema]
    pyarrow_parquet().write_table(
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


def _readable(path: str | bytes) -> str:
    return path if isinstance(path, str) else path.decode("utf-8", "backslashreplace")
