"""All tables by name."""

from collections.abc import Sequence

from ..core.errors import UserError
from .ablations import BATCH_NORM, BATCH_SIZE, OUTPUT_WIDTH, PREDICTOR, SIMILARITY, STOP_GRADIENT, SYMMETRY
from .hypothesis import ALTERNATION, ETA_AVERAGE
from .method_comparisons import METHODS, PREDICTOR_ELSEWHERE
from .table_rows import Row, Table

TABLES = {
    table.name: table
    for table in (
        STOP_GRADIENT,
        PREDICTOR,
        BATCH_SIZE,
        BATCH_NORM,
        SIMILARITY,
        SYMMETRY,
        OUTPUT_WIDTH,
        ALTERNATION,
        ETA_AVERAGE,
        METHODS,
        PREDICTOR_ELSEWHERE,
    )
}
ALL = "all"


def named_tables(names: Sequence[str]) -> list[Table]:
    """Select tables by name.

    Args:
        names: Names; "all" stands for all tables.

    Returns:
        The tables, each once, in the paper's order.

    Raises:
        UserError: No name is given, or one is unknown.
    """
    unknown = [name for name in names if name not in TABLES and name != ALL]
    if unknown or not names:
        what = f"unknown table {unknown[0]!r}; choose from" if unknown else "name a table:"
        raise UserError(f"{what} {', '.join(TABLES)}, or {ALL}")
    return [table for name, table in TABLES.items() if name in names or ALL in names]


def chosen_rows(table: Table, keys: Sequence[str]) -> list[Row]:
    """Select rows of a table.

    Args:
        table: The table.
        keys: Keys of rows; empty for all rows.

    Returns:
        The rows, in the table's order.
    """
    return [row for row in table.rows if not keys or row.key in keys]


def check_rows(tables: Sequence[Table], keys: Sequence[str]) -> None:
    """Check the keys of rows.

    Args:
        tables: The tables.
        keys: Keys of rows.

    Raises:
        UserError: No row of the tables has this key.
    """
    known = list(dict.fromkeys(row.key for table in tables for row in table.rows))
    for key in keys:
        if key not in known:
            raise UserError(f"--rows {key}: no such row; choose from {', '.join(known)}")
