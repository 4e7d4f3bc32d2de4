"""Reading a run folder's plain files; no torch, so that the app and ``--help`` can use it."""

from pathlib import Path
from typing import Any

from ..core.atomic_files import parse_json
from ..core.errors import UserError
from .config import Config, from_dict

VIEWS_FILE = "views.jpg"  # squares side by side: an image's centre, then so many views of it
VIEWS = 4


def read_description(run: Path) -> dict[str, Any]:
    """The content of ``config.json``; raises :class:`UserError` when it is not there or damaged."""
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
    """The settings of a run; raises :class:`UserError` as :func:`read_description` does."""
    try:
        return from_dict(read_description(run)["config"])
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{run / 'config.json'}: damaged, it lacks settings; start a new run") from None


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Rows of ``metrics.jsonl``; half-written and damaged lines are left out."""
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
