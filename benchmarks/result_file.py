"""Writing what a benchmark measured."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def write_result(result: Any, out: Path | None) -> None:
    """Write a result as JSON.

    Args:
        result: Lists, dicts, numbers and texts.
        out: The file, whose folder is made; None for none.
    """
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def write_rows(rows: Sequence[Mapping[str, object]], out: Path) -> None:
    """Write a result as CSV.

    Args:
        rows: Column -> value, the same columns in all.
        out: The file, whose folder is made.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
