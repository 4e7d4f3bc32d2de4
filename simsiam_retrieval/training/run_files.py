"""Reading the plain files of a run folder. Imports no torch, so that the app and ``--help`` can use it."""

from pathlib import Path
from typing import Any

from ..core.atomic_files import parse_json
from ..core.errors import UserError
from .config import Config, from_dict

VIEWS_FILE = "views.jpg"  # squares side by side: the centre of an image, then VIEWS views of it
VIEWS = 4


def read_description(run: Path) -> dict[str, Any]:
    """Read ``config.json``.

    Args:
        run: The run folder.

    Returns:
        Its content.

    Raises:
        UserError: It is missing or damaged.
    """
    file = run / "config.json"
    try:
        described = parse_json(file.read_text(encoding="utf-8", errors="surrogateescape"))
        data = described.get("data", {}) if isinstance(described, dict) else None
        if not isinstance(data, dict) or not all(isinstance(root, str) for root in data.get("roots", ())):
            raise ValueError
        if not isinstance(data.get("cache", ""), str | None):
            raise ValueError
        return described
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{run}: not a run folder (it has no config.json)") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from None
    except (ValueError, TypeError):
        raise UserError(f"{file}: damaged, not JSON; restore it or start a new run") from None


def stored_config(run: Path) -> Config:
    """Read the settings of a run.

    Args:
        run: The run folder.

    Returns:
        The settings.

    Raises:
        UserError: ``config.json`` is missing or damaged.
    """
    try:
        return from_dict(read_description(run)["config"])
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{run / 'config.json'}: damaged, it lacks settings; start a new run") from None


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Read ``metrics.jsonl``. Incomplete and damaged lines are skipped.

    Args:
        run: The run folder.

    Returns:
        The rows.
    """
    rows = []
    file = run / "metrics.jsonl"
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else []:
        try:
            row = parse_json(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows
