"""A table's results, collected from its runs and stored in ``OUT/TABLE.json``. Imports no torch."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from ..core.atomic_files import write_json
from ..core.errors import UserError
from ..core.version import __version__
from ..training.run_files import read_description, read_metrics, stored_config
from .plan_runs import Data, effect, folder_of
from .published_figures import PUBLISHED
from .scales import Protocol, Scale, Settings, config_of
from .stored_measurement import read_measurement
from .table_rows import PAPER, PAPER_PROTOCOL, Row, Table

FORMAT = "simsiam-retrieval-reproduction/1"
LAST = ("epoch", "loss", "std", "knn", "rankme")  # keys of metrics.jsonl whose last values are stored
SHOWN = (  # settings that the notes below a table show
    "backbone", "image_size", "batch_size", "epochs", "base_lr", "weight_decay", "projector_dim",
)  # fmt: skip


def gather(
    table: Table, out: Path, scale: Scale, given: Settings, protocol: Protocol, data: Data, baseline: dict | None
) -> dict[str, Any]:
    """Collect the results of a table's runs. Rows without a run stay empty.

    Args:
        table: The table.
        out: Folder of all runs.
        scale: The scale.
        given: Settings from the command line.
        protocol: How it is measured.
        data: The two labelled folders.
        baseline: Measurement of the untrained network, or None.

    Returns:
        The content of ``OUT/TABLE.json``.
    """
    rows = [_row(row, out, scale, given, data.digest) for row in table.rows]
    plain = config_of(scale, Row("", ""), 0, given)
    return {
        "format": FORMAT,
        "table": table.name,
        "title": table.title,
        "section": table.section,
        "asks": table.asks,
        "scale": scale.name,
        "settings": {name: getattr(plain, name) for name in SHOWN},
        "protocol": asdict(protocol),
        "data": {
            "train": str(data.train.given),
            "test": str(data.test.given),
            "train_images": len(data.train.files),
            "test_images": len(data.test.files),
            "classes": len(data.train.classes),
            "digest": data.digest,
        },
        "paper": {"source": PAPER, "protocol": PAPER_PROTOCOL, "columns": list(table.columns)},
        "published": [asdict(column) for column in PUBLISHED.get((scale.name, table.name), ())],
        "rows": rows,
        "baseline": baseline,
        "made": _made(out / run["folder"] for row in rows for run in row["runs"]),
        "version": __version__,
        "created": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def _row(row: Row, out: Path, scale: Scale, given: Settings, digest: str) -> dict[str, Any]:
    return {
        "key": row.key,
        "label": row.label,
        "here": _here(row, scale),
        "paper": list(row.paper),
        "settings": effect(row, scale, given),
        "stem": _stem(row, out, scale, given),
        "runs": list(_runs(row, out, scale, given, digest)),
    }


def _here(row: Row, scale: Scale) -> str:
    """The values that replace the paper's sizes at this scale."""
    ours = scale.settings_of(row)
    names = [name for name, value in ours.items() if row.settings.get(name) != value]
    return ", ".join(f"{name.replace('_', ' ')} {ours[name]}" for name in names)


def _stem(row: Row, out: Path, scale: Scale, given: Settings) -> str:
    """The name of the row's run folders without the seed at its end."""
    return folder_of(out, scale, config_of(scale, row, 0, given), given).name.removesuffix("0")


def _runs(row: Row, out: Path, scale: Scale, given: Settings, digest: str) -> Iterable[dict[str, Any]]:
    stem = _stem(row, out, scale, given)
    found = [path for path in out.glob(f"{stem}*") if path.name.removeprefix(stem).isdecimal()]
    for path in sorted(found, key=lambda path: int(path.name.removeprefix(stem))):
        seed = int(path.name.removeprefix(stem))
        measured = read_measurement(path)
        if measured is None or measured.digest != digest or stored_config(path) != config_of(scale, row, seed, given):
            continue
        yield {
            "folder": path.name,
            "seed": seed,
            "results": measured.results,
            "failed": measured.failed,
            "last": _last(path),
        }


def _last(run: Path) -> dict[str, float]:
    rows = read_metrics(run)
    return {
        name: next(row[name] for row in reversed(rows) if name in row)
        for name in LAST
        if any(name in row for row in rows)
    }


def _made(runs: Iterable[Path]) -> list[dict[str, Any]]:
    """The device and versions of the runs, each combination once."""
    kinds: list[dict[str, Any]] = []
    for run in runs:
        described = read_description(run)
        kind = {name: described.get(name) for name in ("device", "processes", "versions", "commit")}
        if kind not in kinds:
            kinds.append(kind)
    return kinds


def save(out: Path, content: dict[str, Any]) -> Path:
    """Write ``OUT/TABLE.json`` in one step.

    Args:
        out: Folder of all runs.
        content: Results of the table.

    Returns:
        The file.
    """
    file = out / f"{content['table']}.json"
    write_json(file, content)
    return file


def load(file: Path) -> dict[str, Any]:
    """Read ``OUT/TABLE.json``.

    Args:
        file: The file.

    Returns:
        Results of the table.

    Raises:
        UserError: The file is missing, damaged, or no such file.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{file}: no results there yet; run this table first") from None
    except (OSError, ValueError):
        raise UserError(f"{file}: damaged, not JSON; run this table again, finished rows are not repeated") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{file}: not a table of this version")
    return content


def accuracies(row: dict[str, Any], method: str) -> list[float]:
    """Return the top-1 accuracies of a row's runs.

    Args:
        row: The row's results.
        method: "knn", "linear" or "linear-paper".

    Returns:
        Accuracies in %.
    """
    return [100 * run["results"][method]["top1"] for run in row["runs"] if method in run["results"]]


def last_values(row: dict[str, Any], name: str) -> list[float]:
    """Return the last values of a row's runs.

    Args:
        row: The row's results.
        name: Key in ``metrics.jsonl``.

    Returns:
        The values.
    """
    return [run["last"][name] for run in row["runs"] if name in run["last"]]


def failures(row: dict[str, Any]) -> list[str]:
    """Return why runs of a row failed.

    Args:
        row: The row's results.

    Returns:
        The reasons.
    """
    return [run["failed"] for run in row["runs"] if run["failed"]]


def methods(content: dict[str, Any]) -> Sequence[str]:
    """Return the classifiers that were measured in a table.

    Args:
        content: Results of the table.

    Returns:
        Names, in the order of the columns.
    """
    known = ("knn", "linear", "linear-paper")
    return [name for name in known if any(accuracies(row, name) for row in content["rows"])]
