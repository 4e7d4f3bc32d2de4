"""Paths as a person types them, and the folder where this package keeps a person's data."""

import os
from pathlib import Path

from .errors import UserError

HOME_VARIABLE = "SIMSIAM_RETRIEVAL_HOME"


def absolute(path: str | Path) -> Path:
    """One spelling for a path: absolute, without ``~`` and ``..``; links stay as they are.

    Raises :class:`UserError` for the home of a user who does not exist.
    """
    try:
        return Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100
    except RuntimeError:
        raise UserError(f"{path}: no such user; write ./~... for a name that begins with ~") from None


def is_missing(path: Path) -> bool:
    """Whether nothing has this name; what cannot be looked at is not missing."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False


def home() -> Path:
    """The user's data directory for this package; ``SIMSIAM_RETRIEVAL_HOME`` moves it."""
    import platformdirs  # here, as decoding processes need only the functions above

    moved = os.environ.get(HOME_VARIABLE)
    return absolute(moved) if moved else Path(platformdirs.user_data_dir("simsiam-retrieval", appauthor=False))


def default_collection() -> Path:
    """The collection that ``index`` writes to without ``--collection``."""
    return home() / "collections" / "default"


def default_cache() -> Path:
    """Where decoded training images are kept that do not fit into memory; it may be deleted at any time."""
    return home() / "cache"
