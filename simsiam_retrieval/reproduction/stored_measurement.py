"""The measurement of a run, stored as ``measured.json`` in its folder. Imports no torch, because the app reads it."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..core.atomic_files import write_json
from ..core.errors import UserError

FILE = "measured.json"
BASELINE = "random-weights.json"  # in the folder of all runs: measurement of the untrained network
FORMAT = "simsiam-retrieval-measured/1"


@dataclass(frozen=True)
class Measurement:
    """The result of one run: accuracies, or why it failed.

    Attributes:
        digest: Hash of the images.
        protocol: How it was measured.
        results: "knn", "linear", "linear-paper" -> numbers.
        failed: Why the run failed, or None. A failed run is a result, too.
    """

    digest: str
    protocol: dict[str, Any]
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: str | None = None


def write_measurement(run: Path, measured: Measurement) -> None:
    """Write a measurement to the run folder.

    Args:
        run: The run folder.
        measured: The measurement.
    """
    write_json(run / FILE, {"format": FORMAT, **asdict(measured)})


def read_measurement(run: Path) -> Measurement | None:
    """Read the measurement of a run.

    Args:
        run: The run folder.

    Returns:
        The measurement; None if there is none.

    Raises:
        UserError: The file is damaged or of another version.
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
