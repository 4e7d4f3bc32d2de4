"""What was measured of one run, beside it in ``measured.json``; no torch, so that the app can read it."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..core.atomic_files import write_json
from ..core.errors import UserError

FILE = "measured.json"
BASELINE = "random-weights.json"  # beside the runs: the same network, not trained
FORMAT = "simsiam-retrieval-measured/1"


@dataclass(frozen=True)
class Measurement:
    """The result of one run: accuracies, or why it failed."""

    digest: str  # of the images
    protocol: dict[str, Any]
    results: dict[str, dict[str, Any]] = field(default_factory=dict)  # "knn", "linear", "linear-paper"
    failed: str | None = None  # a run that came to nothing is a result, too


def write_measurement(run: Path, measured: Measurement) -> None:
    """Keep ``measured`` in the run folder."""
    write_json(run / FILE, {"format": FORMAT, **asdict(measured)})


def read_measurement(run: Path) -> Measurement | None:
    """What is kept in the run folder; None where nothing is.

    Raises :class:`UserError` for a file that is damaged or of another version.
    """
    try:
        content = json.loads((run / FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError):
        raise UserError(f"{run / FILE}: damaged, not JSON; delete it, and the run is measured again") from None
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise UserError(f"{run / FILE}: not of this version; delete it, and the run is measured again")
    try:
        return Measurement(**content)
    except TypeError:
        raise UserError(f"{run / FILE}: damaged; delete it, and the run is measured again") from None
