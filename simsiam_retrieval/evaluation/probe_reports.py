"""Probe reports: JSON files with all results, data and protocols. The app and the model card read them."""

import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.atomic_files import write_json
from ..core.errors import UserError
from ..core.text import printable
from ..core.version import __version__

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = "simsiam-retrieval-probe/2"


def fingerprint(pixels: "NDArray", names: list[str]) -> str:
    """Hash a labelled set.

    Args:
        pixels: Rows of the pixel baseline.
        names: Class of each file, in the same order.

    Returns:
        16 hexadecimal digits.
    """
    digest = hashlib.sha256(str(pixels.shape).encode())
    digest.update(pixels.tobytes())
    digest.update("\0".join(names).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


def build(measured: list[dict[str, Any]], data: dict[str, Any], seed: int, protocols: dict[str, str]) -> dict[str, Any]:
    """Build a report.

    Args:
        measured: Results: first the encoder's, then the baselines'.
        data: Facts about the data.
        seed: Seed of the probe.
        protocols: How each measurement is done, in words; those that were used are stored.

    Returns:
        The report.
    """
    used = set(measured[0]["results"]) | set(measured[0])
    return {
        "format": FORMAT,
        **measured[0],
        "baselines": measured[1:],
        **data,
        "protocols": {name: text for name, text in protocols.items() if name in used},
        "seed": seed,
        "version": __version__,
        "created": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def save_report(run: Path, content: dict[str, Any]) -> Path:
    """Write a report to the run folder's ``eval/``.

    Args:
        run: The run folder.
        content: The report.

    Returns:
        The file.
    """
    folder = run / "eval"
    folder.mkdir(exist_ok=True)
    file = folder / f"probe-{datetime.now().strftime('%Y%m%d-%H%M%S-%f')[:-3]}.json"
    write_json(file, content)
    return file


def load_reports(paths: list[Path]) -> list[dict[str, Any]]:
    """Load reports.

    Args:
        paths: Files, folders of them, or run folders.

    Returns:
        The reports.

    Raises:
        UserError: A file is not a report of this version; the message names it.
    """
    reports = []
    for path in paths:
        reports += [_load(file) for file in (_in_folder(path) if path.is_dir() else [path])]
    return reports


def _in_folder(folder: Path) -> list[Path]:
    found = sorted((folder / "eval").glob("*.json")) or sorted(folder.glob("*.json"))
    if not found:
        raise UserError(
            f"{folder}: no reports in it; run: python -m simsiam_retrieval.probe {folder} --train … --test …"
        )
    return found


def _load(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{file}: no such report") from None
    except (OSError, ValueError):
        raise UserError(f"{file}: damaged, not JSON") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{printable(file)}: not a probe report of this version; run probe again")
    return content
