"""Tables of the paper that were run (``reproduce``), as the Training page shows them: a set of runs with results."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.reproduction.print_table import cells, notes
from simsiam_retrieval.reproduction.table_results import FORMAT, load

from .training_runs import DEPTH

HEAD = 200  # bytes of a file, within which it says what it is


@dataclass(frozen=True)
class TableOfRuns:
    """One table: what it asks, its rows' runs, and ours beside the paper's."""

    title: str
    asks: str
    runs: dict[str, Path]  # row -> its run with the lowest seed, where it has begun
    head: list[str]
    body: list[list[str]]
    notes: list[str]


def find_tables(root: Path) -> list[Path]:
    """Find files of results at or below a folder, as deep as runs are looked for.

    Args:
        root: The folder.

    Returns:
        The files, sorted by path.
    """
    folders, found = [root], []
    for _ in range(DEPTH):
        found += [file for folder in folders for file in sorted(_json_files(folder)) if _is_table(file)]
        folders = [below for folder in folders for below in sorted(_folders(folder))]
    return found


def _json_files(folder: Path) -> list[Path]:
    try:
        return [file for file in folder.glob("*.json") if file.is_file()]
    except OSError:
        return []


def _folders(folder: Path) -> list[Path]:
    try:
        return [
            path
            for path in folder.iterdir()
            if path.is_dir() and not path.is_symlink() and not path.name.startswith(".")
        ]
    except OSError:
        return []


def _is_table(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            return json.dumps(FORMAT).encode() in opened.read(HEAD)
    except OSError:
        return False


def read_table(file: Path) -> TableOfRuns:
    """Read a file of results.

    Args:
        file: The file.

    Returns:
        The table.

    Raises:
        UserError: It cannot be read or is damaged.
    """
    content = load(file)
    try:
        head, body = cells(content)
        runs = {str(row["label"]): run for row in content["rows"] if (run := _first_run(file.parent, row)) is not None}
        return TableOfRuns(str(content["title"]), str(content["asks"]), runs, head, body, notes(content))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        raise UserError(f"{file}: damaged, it lacks results; run this table again") from None


def _first_run(folder: Path, row: dict[str, Any]) -> Path | None:
    stem = str(row["stem"])
    if "/" in stem or not stem:
        return None
    begun = [
        path
        for path in _folders(folder)
        if path.name.removeprefix(stem).isdecimal() and (path / "metrics.jsonl").exists()
    ]
    return min(begun, key=lambda path: int(path.name.removeprefix(stem)), default=None)
