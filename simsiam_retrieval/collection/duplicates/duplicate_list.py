"""Groups of duplicates as CSV and JSON, for other programs."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .find_duplicates import Duplicate, is_sure

COLUMNS = ("group", "best", "score", "exact", "state", "width", "height", "bytes", "path", "possibly")


def as_json(groups: Sequence[Sequence[Duplicate]], sure: float | None = None) -> str:
    """A list of groups, each a list of files, the best first; ``possibly`` marks files below the cosine ``sure``."""
    return json.dumps([[_as_dict(file, sure) for file in group] for group in groups], indent=2)


def as_csv(groups: Sequence[Sequence[Duplicate]], shown: Callable[[Path], str] = str, sure: float | None = None) -> str:
    """One line per file, below the names of the columns; ``shown`` spells the paths, ``sure`` as for JSON."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for number, group in enumerate(groups, 1):
        for file in group:
            facts = _as_dict(file, sure)
            best, exact = int(file is group[0]), int(file.exact)
            values = (facts["score"], exact, file.state, facts["width"], facts["height"], facts["bytes"])
            writer.writerow((number, best, *values, shown(file.path), int(facts["possibly"])))
    return text.getvalue()


def _as_dict(file: Duplicate, sure: float | None) -> dict[str, Any]:
    item = file.item
    return {
        "path": str(item.path),
        "score": round(file.score, 6),
        "exact": file.exact,
        "state": file.state,
        "width": item.width,
        "height": item.height,
        "bytes": item.size,
        "possibly": not is_sure(file, sure),
    }
