"""Training runs on disk, as the Training page shows them."""

import functools
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.training.run_files import read_description, read_metrics

DEPTH = 2  # folders below the runs folder that are looked into
POINTS = 1000  # rows that a curve is drawn of
COLLAPSED = 0.1  # a std below this is collapse, not noise
METHODS = ("knn", "knn-20", "knn-whitened", "linear", "linear-paper")
COMPARED = ("knn-20", "linear")  # what is shown of the baselines
CURVES = (
    "loss",
    "std",
    "rankme",
    "view_retrieval",
    "knn",
    "lr",
    "images_per_second",
    "rankme_features",
    "variance_auc",
    "alignment",
    "uniformity",
)
VERDICTS = ("collapse", "dimensional collapse")
COLLAPSE, WATCH, FINE = "collapse", "watch it", "no alarm"
# docs/pretraining.md: both together come before an alarm, and a healthy run's RankMe alone falls to 0.6 of its best
STD_LOWER, RANK_LOWER = 0.95, 0.8
SILENT_SECONDS = 120  # without a row: the run is taken for stopped
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


@dataclass(frozen=True)
class Run:
    """What a run has written so far."""

    rows: list[dict[str, float]]  # finite numbers: "epoch", "step" and those of CURVES that are there
    verdict: str | None  # of the newest row that was judged: "collapse", "dimensional collapse"; None for nothing wrong
    judged: bool  # whether the monitor has looked
    epochs: int | None  # that it was started for
    description: dict[str, Any]  # config.json
    converted: list[tuple[str, str]]  # where converted weights are from
    silent: float | None  # seconds since the last row; None for no row

    @property
    def state(self) -> str:
        """One of "running", "finished", "stopped", "waiting" for its first numbers, or "converted"."""
        if not self.rows:
            return "converted" if self.converted else "waiting"
        if self.epochs is not None and self.rows[-1]["epoch"] >= self.epochs:
            return "finished"
        return "running" if self.silent is not None and self.silent < SILENT_SECONDS else "stopped"

    @property
    def has_collapsed(self) -> bool:
        """Whether the run, or for lack of its word the newest output std, says that the features are lost."""
        return self.verdict is not None or (bool(self.rows) and self.rows[-1].get("std", 1.0) < COLLAPSED)

    @property
    def standing(self) -> str:
        """The verdict in a word: COLLAPSE, WATCH, FINE, or "–" where it is too early."""
        if self.has_collapsed:
            return COLLAPSE
        if not self.judged:
            return "–"
        ranks = [row["rankme"] for row in self.rows if "rankme" in row]
        std = self.newest("std")
        fallen = bool(ranks) and ranks[-1] < RANK_LOWER * max(ranks) and std is not None and std < STD_LOWER
        return WATCH if fallen else FINE

    def newest(self, key: str) -> float | None:
        """The last value there is."""
        return next((row[key] for row in reversed(self.rows) if key in row), None)


def read_run(path: Path) -> Run:
    """What is in a run folder; raises :class:`UserError` when ``config.json`` or the numbers cannot be read."""
    description = read_description(path)
    file = path / "metrics.jsonl"
    silent, read = None, _Rows([], None, False)
    try:
        if file.exists():
            status = file.stat()
            read = _read_rows(path, status.st_mtime_ns, status.st_size)
            silent = time.time() - status.st_mtime
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read ({getattr(error, 'strerror', None) or 'not text'})") from None
    return Run(
        read.rows, read.verdict, read.judged, epochs_of(description), description, conversion_of(description), silent
    )


class _Rows(NamedTuple):
    """The part of :class:`Run` that is in ``metrics.jsonl``."""

    rows: list[dict[str, float]]
    verdict: str | None
    judged: bool


@functools.lru_cache(maxsize=16)  # pages ask every few seconds, visitors for the same runs
def _read_rows(path: Path, changed: int, size: int) -> _Rows:
    kept = []
    verdict, judged = None, False
    rows = read_metrics(path)
    if not rows:
        (path / "metrics.jsonl").read_text(encoding="utf-8")  # raises where not even one line is left to read
    for row in rows:
        numbers = {key: float(row[key]) for key in ("step", "epoch", *CURVES) if _is_number(row, key)}
        if "epoch" in numbers:
            kept.append(numbers)
            said = row.get("verdict")
            if "rankme" in numbers or said:
                judged, verdict = True, str(said) if said in VERDICTS else None
    return _Rows(kept, verdict, judged)


def _is_number(row: Any, key: str) -> bool:
    value = row.get(key) if isinstance(row, dict) else None
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def thinned(rows: list[dict[str, float]], points: int = POINTS) -> list[dict[str, float]]:
    """At most ``points`` rows, evenly spaced, the last one among them."""
    stride = -(-len(rows) // points) or 1
    return rows[::-1][::stride][::-1]


def verdict_text(run: Run) -> tuple[str, str]:
    """Whether a run collapses, in words, and what kind of notice that is: "warning", "info", or "" for a remark."""
    if not run.rows:
        return "This run has not written its first numbers yet; they will show here by themselves.", "info"
    std, rank, recognised = run.newest("std"), run.newest("rankme"), run.newest("view_retrieval")
    spread = "" if std is None else f"std {std:.2f}, where 1 is healthy"
    if run.verdict == "dimensional collapse":
        return (
            f"Dimensional collapse: the outputs differ along about {rank or 0:.0f} directions only ({spread}). The "
            f"features will be of little use. Start again {_remedy(run)}, or with images that are less alike.",
            "warning",
        )
    if run.has_collapsed:
        return (
            f"Collapse: the network gives every image nearly the same features ({spread}). Nothing can be found with "
            f"them; start again {_remedy(run)}.",
            "warning",
        )
    if not run.judged:
        return f"Too early to say whether it collapses: the monitor has not looked yet ({spread}).", ""
    if run.standing == WATCH:
        return (
            f"No alarm yet, but the outputs lose directions: {spread}, and RankMe {rank:.0f} is well below its best of "
            f"{max(row['rankme'] for row in run.rows if 'rankme' in row):.0f}. If that goes on, start again "
            f"{_remedy(run)}.",
            "warning",
        )
    parts = [spread, "" if rank is None else f"RankMe {rank:.0f}"]
    known = "" if recognised is None else f" Of one view it recognises the other {100 * recognised:.0f} % of the time."
    return f"No sign of collapse: {', '.join(filter(None, parts))}.{known}", ""


def _remedy(run: Run) -> str:
    usual = "with half the learning rate (--base-lr) or larger batches (--batch-size)"
    return usual if _part(run.description, "config").get("stop_gradient", True) else "without --no-stop-gradient"


def differing_settings(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Settings in which runs differ: the name, and the value of each."""
    tables = [dict(settings_of(run.description)) for run in runs]
    names = dict.fromkeys(name for table in tables for name in table)
    rows = [(name, [table.get(name, "–") for table in tables]) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1]


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
