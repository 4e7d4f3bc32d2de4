"""Rows as Arrow tables, for Parquet and Lance."""

import pyarrow as pa

from .ownership_mark import Mark
from .rows import Rows


def schema(mark: Mark) -> pa.Schema:
    """Return the columns of a table, with the ownership mark as metadata.

    Args:
        mark: The mark.

    Returns:
        The schema.
    """
    return pa.schema(
        [
            pa.field("id", pa.int64(), nullable=False),
            pa.field("vector", pa.list_(pa.float32(), mark.dim)),
            pa.field("path", pa.string()),
            pa.field("folders", pa.list_(pa.string())),
            pa.field("size", pa.int64()),
            pa.field("date", pa.timestamp("us")),
            pa.field("taken", pa.timestamp("us")),
            pa.field("width", pa.int32()),
            pa.field("height", pa.int32()),
            pa.field("format", pa.string()),
            pa.field("label", pa.string()),
            pa.field("digest", pa.string()),
            pa.field("row_hash", pa.string()),
        ],
        metadata=mark.as_metadata(),
    )


def as_table(rows: Rows, columns: pa.Schema) -> pa.Table:
    """Convert rows to an Arrow table.

    Args:
        rows: The rows.
        columns: The schema.

    Returns:
        The table.
    """
    ready = {
        "id": pa.array(rows.ids, pa.int64()),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(rows.vectors.ravel()), type=columns.field("vector").type),
    }
    arrays = [
        ready[field.name] if field.name in ready else pa.array([fact[field.name] for fact in rows.facts], field.type)
        for field in columns
    ]
    return pa.Table.from_arrays(arrays, schema=columns)
