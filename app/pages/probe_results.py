"""Probe reports on disk, as the Linear probe page shows them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simsiam_retrieval.evaluation.probe_reports import FORMAT
from simsiam_retrieval.evaluation.probe_table import CLASSIFIERS, NONE

from . import training_runs

Shot = tuple[int, float, float, float]  # images per class, top-1, low, high


@dataclass(frozen=True)
class Measured:
    """An encoder or a baseline on one pair of folders."""

    name: str  # to show; no two of a question are equal
    encoder: str  # identity
    baseline: bool
    report: Path  # the file that it is in
    position: int  # there: 0 for the encoder, then the baselines
    results: dict[str, dict[str, Any]]  # by method
    few_shot: list[Shot]


@dataclass(frozen=True)
class Question:
    """A pair of labelled folders, and all that was measured on it."""

    name: str  # to show; no two are equal
    about: str
    measured: list[Measured]  # encoders, the one measured last first; then baselines

    @property
    def methods(self) -> dict[str, str]:
        """Keys of the methods that anything was measured with, and what heads their columns."""
        heads = {}
        for key, head in CLASSIFIERS.items():
            found = next((one.results[key] for one in self.measured if key in one.results), None)
            if found is not None:
                heads[key] = head.format(**{"k": NONE, **found})
        return heads


def find_questions(root: Path) -> list[Question]:
    """Find what the reports in and below a folder answer, newest first.

    Reports are ``RUN/eval/*.json``, and JSON files in the folder or in its ``eval``. Of several reports on one encoder
    and equal data, the newest counts. Files that are damaged or no report of this version are skipped.

    Args:
        root: The folder.

    Returns:
        The questions.
    """
    files = {file for run in training_runs.find_runs(root) for file in (run / "eval").glob("*.json")}
    files |= {*root.glob("*.json"), *(root / "eval").glob("*.json")}
    reports = [(file, content) for file in files if (content := _read(file)) is not None]
    groups: dict[tuple[str, str], list[tuple[Path, dict[str, Any]]]] = {}
    for file, content in sorted(reports, key=lambda pair: (str(pair[1]["created"]), str(pair[0])), reverse=True):
        data = content["data"]
        groups.setdefault((data["train_fingerprint"], data["test_fingerprint"]), []).append((file, content))
    names: set[str] = set()
    return [_question(group, names) for group in groups.values()]


def _read(file: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            return None
        _ = (content["created"], content["data"]["train_fingerprint"], content["data"]["test_fingerprint"])
        for row in (content, *content["baselines"]):
            _ = [(float(one["top1"]), [float(end) for end in one["top1_interval"]]) for one in row["results"].values()]
            _ = (row["name"], row["encoder"][:8], _shots(row))
        _ = (content["test_images"] + content["train_images"] + content["classes"], content["test"], content["train"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # being written, or not ours
    return content


def _question(reports: list[tuple[Path, dict[str, Any]]], taken: set[str]) -> Question:
    newest = reports[0][1]
    encoders = {content["encoder"] for _, content in reports}
    found: dict[str, Measured] = {}
    rows = [(file, 0, content) for file, content in reports]
    rows += [
        (file, position, row)
        for file, content in reports
        for position, row in enumerate(content["baselines"], 1)
        if row["encoder"] not in encoders
    ]
    names: set[str] = set()
    for file, position, row in rows:
        if row["encoder"] not in found:
            short = row["encoder"][:8]
            name = f"{row['name']} ({short})" if str(row.get("about", "")).startswith("encoder") else str(row["name"])
            found[row["encoder"]] = Measured(
                _unlike(name, names), row["encoder"], position > 0, file, position, row["results"], _shots(row)
            )
    name = f"{Path(newest['test']).name or newest['test']}, {newest['classes']} classes"
    about = (
        f"{newest['test_images']:,} test images ({newest['test']}), {newest['train_images']:,} training images "
        f"({newest['train']}), {newest['classes']} classes"
    )
    return Question(_unlike(name, taken), about, list(found.values()))


def _unlike(name: str, taken: set[str]) -> str:
    number, free = 2, name
    while free in taken:
        free, number = f"{name} #{number}", number + 1
    taken.add(free)
    return free


def _shots(row: dict[str, Any]) -> list[Shot]:
    found = []
    for one in row.get("few_shot", ()):
        low, high = one["top1_interval"]
        found.append((int(one["shots"]), float(one["top1"]), float(low), float(high)))
    return found


def best_of(measured: Sequence[Measured], method: str) -> float:
    """Return the highest top-1 accuracy of a method.

    Args:
        measured: Results.
        method: The method.

    Returns:
        Top-1 accuracy.
    """
    return max((float(one.results[method]["top1"]) for one in measured if method in one.results), default=0.0)
