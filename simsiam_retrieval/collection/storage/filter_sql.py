"""A filter as SQL conditions."""

import os

from ..search.filters import Filter


def narrowed(where: Filter) -> tuple[list[str], list[object]]:
    """Return SQL conditions that all images meet which meet a filter, so that fewer rows are looked at.

    Args:
        where: The filter.

    Returns:
        The conditions, and the values of their question marks.
    """
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
