"""Training runs on disk, as the Training page shows them."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simsiam_retrieval.errors import UserError
from simsiam_retrieval.training.runfiles import read_metrics

DEPTH = 2  # folders below the runs folder that are looked into
POINTS = 1000  # rows that a curve is drawn of
COLLAPSED = 0.1  # a std below this is collapse, not noise
METHODS = ("knn", "knn-20", "knn-whitened", "linear", "linear-paper")
COMPARED = ("knn-20", "linear")  # what is shown of the baselines
CURVES = ("loss", "std", "lr", "images_per_second")
CONVERSION = ("file", "sha256", "layout", "heads", "licence")  # of what config.json says of converted weights


def find_runs(root: Path) -> list[Path]:
    """Run folders at or below ``root``, the one written last first."""
    found: list[tuple[float, Path]] = []
    _look(root, DEPTH, found)
    return [path for _, path in sorted(found, key=lambda pair: (-pair[0], str(pair[1])))]


def _look(folder: Path, depth: int, found: list[tuple[float, Path]]) -> None:
    try:
        if (folder / "config.json").is_file():
            found.append((_written(folder), folder))
            return  # a run holds no runs
        below = [path for path in folder.iterdir() if depth > 0 and not path.name.startswith(".") and path.is_dir()]
    except OSError:  # unreadable, gone, or a run without its first row
        return
    for path in below:
        if not path.is_symlink():
            _look(path, depth - 1, found)


def _written(run: Path) -> float:
    """When the run was last written to; raises ``OSError`` for one that holds neither numbers nor weights yet."""
    rows = run / "metrics.jsonl"
    return (rows if rows.exists() else run / "checkpoint.pt").stat().st_mtime  # converted weights have no numbers


def curve_rows(run: Path) -> list[dict[str, float]]:
    """The finite numbers of ``metrics.jsonl``: rows with ``epoch``, ``step`` and those of ``CURVES`` that are there.

    Raises :class:`UserError` when the file cannot be read.
    """
    file = run / "metrics.jsonl"
    try:
        rows = read_metrics(run)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read ({getattr(error, 'strerror', None) or 'not text'})") from None
    kept = []
    for row in rows:
        numbers = {key: row[key] for key in ("step", "epoch", *CURVES) if _is_number(row, key)}
        if "epoch" in numbers:
            kept.append(numbers)
    return kept


def _is_number(row: Any, key: str) -> bool:
    value = row.get(key) if isinstance(row, dict) else None
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def thinned(rows: list[dict[str, float]], points: int = POINTS) -> list[dict[str, float]]:
    """At most ``points`` rows, evenly spaced, the last one among them."""
    stride = -(-len(rows) // points) or 1
    return rows[::-1][::stride][::-1]


def has_collapsed(rows: list[dict[str, float]]) -> bool:
    """Whether the newest output std says that all images get the same features."""
    return bool(rows) and rows[-1].get("std", 1.0) < COLLAPSED


def settings_of(description: dict[str, Any]) -> list[tuple[str, str]]:
    """What ``config.json`` says of a run, as names and values to show."""
    config, data = _part(description, "config"), _part(description, "data")
    device, versions = _part(description, "device"), _part(description, "versions")
    roots, started = data.get("roots"), description.get("started") if isinstance(description, dict) else None
    pairs = [
        ("Images", _number(data.get("images"))),
        ("From", ", ".join(map(str, roots)) if isinstance(roots, list) else None),
        ("Device", device.get("name") or device.get("type")),
        ("Started", _moment(started)),
        *((name.replace("_", " ").capitalize(), _number(value)) for name, value in config.items()),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
    ]
    return [(name, str(value)) for name, value in pairs if value not in (None, "")]


def conversion_of(description: dict[str, Any]) -> list[tuple[str, str]]:
    """Where the weights of a converted run are from, as names and values to show; empty for any other run."""
    facts = _part(description, "converted")
    return [(name.capitalize(), str(facts[name])) for name in CONVERSION if facts.get(name)]


def epochs_of(description: dict[str, Any]) -> int | None:
    """The number of epochs that a run was started for."""
    epochs = _part(description, "config").get("epochs")
    return epochs if isinstance(epochs, int) else None


def _part(description: dict[str, Any], key: str) -> dict[str, Any]:
    value = description.get(key) if isinstance(description, dict) else None
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> str | None:
    if value is None:
        return None
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _moment(text: Any) -> str | None:
    return str(text)[:16].replace("T", " ") if text else None


@dataclass(frozen=True)
class Probe:
    """The results of one evaluation of a run's features."""

    rows: list[tuple[str, str, str]]  # method, top-1, top-5
    about: str  # on what


def newest_probe(run: Path) -> Probe | None:
    """The newest readable result below ``RUN/eval``, or None."""
    found = []
    for file in sorted((run / "eval").glob("*.json")):
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            results = content["results"]
            rows = [(_method(name, results[name]), *_percents(results[name])) for name in METHODS if name in results]
            for baseline in content.get("baselines", ()):
                others = baseline["results"]
                rows += [
                    (f"{_method(name, others[name])}, {baseline['name']}", *_percents(others[name]))
                    for name in COMPARED
                    if name in others
                ]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # being written, or not ours
        if rows:
            found.append((str(content.get("created", "")), file.name, Probe(rows, _about(content))))
    return max(found)[2] if found else None


def _method(name: str, result: dict[str, Any]) -> str:
    if name in ("linear", "linear-paper"):
        return "Linear probe" if name == "linear" else "Linear, the paper's protocol"
    kind = "Whitened kNN" if name == "knn-whitened" else "kNN"
    return f"{kind} (k = {result['k']})" if "k" in result else kind


def _percents(result: dict[str, Any]) -> tuple[str, str]:
    return _percent(result.get("top1")), _percent(result.get("top5"))


def _percent(part: float | None) -> str:
    return "–" if part is None else f"{100 * part:.1f} %"


def _about(content: dict[str, Any]) -> str:
    parts = []
    for side in ("train", "test"):
        if content.get(side):
            count = _number(content.get(f"{side}_images"))
            parts.append(f"{side} {content[side]}" + (f" ({count} images)" if count else ""))
    if content.get("classes"):
        parts.append(f"{content['classes']} classes")
    if content.get("created"):
        parts.append(str(_moment(content["created"])))
    return ", ".join(parts)
