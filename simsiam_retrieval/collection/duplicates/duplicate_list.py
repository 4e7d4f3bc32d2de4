"""Groups of duplicates as CSV and JSON, for other programs."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..types import Duplicate
from .thresholds import is_sure

COLUMNS = (
    "group",
    "best",
    "score",
    "exact",
    "state",
    "width",
    "height",
    "bytes",
    "path",
    "possibly",
    "kind",
    "detail",
    "part",
    "box",
)


def as_json(groups: Sequence[Sequence[Duplicate]], sure: float | None = None) -> str:
    """Format groups as JSON: a list of groups, each a list of files, the best one first.

    Args:
        groups: The groups.
        sure: Files below this cosine get ``possibly``; None for none.

    Returns:
        JSON.
    """
    return json.dumps([[_as_dict(file, sure) for file in group] for group in groups], indent=2)


def as_csv(groups: Sequence[Sequence[Duplicate]], shown: Callable[[Path], str] = str, sure: float | None = None) -> str:
    """Format groups as CSV: one line per file.

    Args:
        groups: The groups.
        shown: Converts a path to text.
        sure: See ``as_json``.

    Returns:
        CSV with a header line.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for number, group in enumerate(groups, 1):
        for file in group:
            facts = _as_dict(file, sure)
            best, exact = int(file is group[0]), int(file.exact)
            values = (facts["score"], exact, file.state, facts["width"], facts["height"], facts["bytes"])
            box = "" if file.box is None else " ".join(map(str, file.box))
            kind = (file.kind, file.detail, file.part, box)
            writer.writerow((number, best, *values, shown(file.path), int(facts["possibly"]), *kind))
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
        "kind": file.kind,
        "detail": file.detail,
        "part": file.part,
        "box": file.box,
    }


def kind_text(file: Duplicate) -> str:
    """Say what a file has to do with the best one, in a few words.

    Args:
        file: The file.

    Returns:
        Such as "edited: mirrored" or "crop of best, 25 % of it"; "" if pixels were not compared.
    """
    text = file.kind
    if file.box is not None:
        share = f"{100 * file.box[2] * file.box[3]:.0f} %"
        text = f"crop of best, {share} of it" if file.part == "this" else f"best is crop of this, {share}"
    return f"{text}: {file.detail}" if file.detail else text
