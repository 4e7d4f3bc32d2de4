"""The newest probe result of a run, as the Training page shows it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .training_settings import moment, number

METHODS = ("knn", "knn-20", "knn-whitened", "linear", "linear-paper")
COMPARED = ("knn-20", "linear")  # what is shown of the baselines


@dataclass(frozen=True)
class Probe:
    """The results of one evaluation of a run's features."""

    rows: list[tuple[str, str, str]]  # method, top-1, top-5
    about: str  # on what


def newest_probe(run: Path) -> Probe | None:
    """Read the newest readable result below ``RUN/eval``.

    Args:
        run: The run folder.

    Returns:
        The result; None if there is none.
    """
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
            count = number(content.get(f"{side}_images"))
            parts.append(f"{side} {content[side]}" + (f" ({count} images)" if count else ""))
    if content.get("classes"):
        parts.append(f"{content['classes']} classes")
    if content.get("created"):
        parts.append(str(moment(content["created"])))
    return ", ".join(parts)
