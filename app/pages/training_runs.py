"""Training runs on disk, as the Training page shows them."""

import functools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.training.run_files import read_description, read_metrics

from .training_settings import conversion_of, epochs_of, part, settings_of

DEPTH = 2  # folders below the runs folder that are looked into
POINTS = 1000  # rows that a curve is drawn of
COLLAPSED = 0.1  # a std below this is collapse, not noise
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


def find_runs(root: Path) -> list[Path]:
    """Find run folders at or below a folder.

    Args:
        root: The folder.

    Returns:
        Run folders, the one written last first.
    """
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
        """Return the last value of a metric.

        Args:
            key: Its name.

        Returns:
            The value; None if there is none.
        """
        return next((row[key] for row in reversed(self.rows) if key in row), None)


def read_run(path: Path) -> Run:
    """Read a run folder.

    Args:
        path: The folder.

    Returns:
        What is in it.

    Raises:
        UserError: ``config.json`` or the metrics cannot be read.
    """
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
    """Select evenly spaced rows, the last one among them.

    Args:
        rows: The rows.
        points: Largest number of rows.

    Returns:
        The selected rows.
    """
    stride = -(-len(rows) // points) or 1
    return rows[::-1][::stride][::-1]


def verdict_text(run: Run) -> tuple[str, str]:
    """Say whether a run collapses.

    Args:
        run: The run.

    Returns:
        The sentence, and the kind of notice: "warning", "info", or "" for a remark.
    """
    if not run.rows:
        return "This run has not written its first numbers yet; they will show here by themselves.", "info"
    std, rank, recognised = run.newest("std"), run.newest("rankme"), run.newest("view_retrieval")
    spread = "" if std is None else f"spread {std:.2f}, where 1 is healthy"
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
            f"No alarm yet, but the outputs lose directions: {spread}, and the variety of features, {rank:.0f}, is "
            f"well below its best of {max(row['rankme'] for row in run.rows if 'rankme' in row):.0f}. If that goes on, "
            f"start again {_remedy(run)}.",
            "warning",
        )
    parts = [spread, "" if rank is None else f"variety of features {rank:.0f}"]
    text = f"No sign of collapse: {', '.join(filter(None, parts))}."
    if recognised is None:
        return text, ""
    return f"{text} From one view of an image it finds the other in {100 * recognised:.0f} % of cases.", ""


def _remedy(run: Run) -> str:
    usual = "with half the learning rate (--base-lr) or larger batches (--batch-size)"
    return usual if part(run.description, "config").get("stop_gradient", True) else "without --no-stop-gradient"


def differing_settings(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Find the settings in which runs differ.

    Args:
        runs: The runs.

    Returns:
        Name, and the value of each run.
    """
    tables = [dict(settings_of(run.description)) for run in runs]
    names = dict.fromkeys(name for table in tables for name in table)
    rows = [(name, [table.get(name, "–") for table in tables]) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1]
