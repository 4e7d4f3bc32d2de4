"""The report of an export: ``export.json`` next to the files, and a table."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simsiam_retrieval.core.atomic_files import write_json

from .check_parity import Parity

FORMAT = "simsiam-retrieval-export/1"
REPORT = "export.json"
FILES = {"fp32": "encoder.onnx", "fp16": "encoder_fp16.onnx", "int8": "encoder_int8.onnx"}
COMPUTES = {
    "fp32": "float32",
    "fp16": "float16 on a GPU, float32 on an x86 CPU",
    "int8": "8-bit integers, on a CPU",
}


@dataclass(frozen=True)
class Exported:
    """The result for one file.

    Attributes:
        file: The file.
        precision: "fp32", "fp16" or "int8".
        parity: Differences to the PyTorch model.
        size: Size in bytes.
        checked_on: The images that it was checked on, in words.
        refused: Why it was not written, or None.
    """

    file: Path
    precision: str
    parity: Parity
    size: int
    checked_on: str
    refused: str | None = None


def add_to_report(exported: Exported, facts: dict[str, Any]) -> None:
    """Add a file to ``export.json``. Entries of other existing files stay.

    Args:
        exported: The result for the file.
        facts: Further facts.
    """
    file = exported.file.parent / REPORT
    rows = {name: row for name, row in read_report(file).items() if (file.parent / name).exists()}
    rows[exported.file.name] = {**facts, "bytes": exported.size, "parity": exported.parity.as_dict()}
    write_json(file, {"format": FORMAT, "files": dict(sorted(rows.items()))})


def read_report(file: Path) -> dict[str, dict[str, Any]]:
    """Read ``export.json``.

    Args:
        file: The report.

    Returns:
        File name -> entry; empty if there is no such report.
    """
    try:
        report = json.loads(file.read_text(encoding="utf-8"))
        return dict(report["files"]) if report.get("format") == FORMAT else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def table(exported: Sequence[Exported]) -> str:
    """Format the numbers for a terminal, one line per file.

    Args:
        exported: The results.

    Returns:
        The table.
    """
    labelled = any(row.parity.knn is not None for row in exported)
    head = ["file", "MB", "largest diff.", "mean diff.", "least cosine", "recall@10", "batches"]
    rows = [head + (["kNN", "torch's"] if labelled else [])]
    for row in exported:
        parity = row.parity
        cells = [
            row.file.name + (" (not written)" if row.refused else ""),
            f"{row.size / 1e6:.1f}",
            f"{parity.largest_difference:.1e}",
            f"{parity.mean_difference:.1e}",
            f"{parity.smallest_cosine:.6f}",
            f"{parity.recall_at_10:.4f}",
            " ".join(map(str, parity.batches)),
        ]
        if labelled:
            cells += ["" if value is None else f"{100 * value:.1f}" for value in (parity.knn, parity.knn_torch)]
        rows.append(cells)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for name, *figures in rows:
        cells = [cell.rjust(width) for cell, width in zip(figures, widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *cells]))
    return "\n".join(lines)
