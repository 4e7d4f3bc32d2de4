"""Where collections live when nobody names a place, and which one was used last."""

import os
from pathlib import Path

import platformdirs

from .errors import UserError
from .files import parse_json, write_json
from .images.files import absolute

HOME_VARIABLE = "SIMSIAM_RETRIEVAL_HOME"


def home() -> Path:
    """The user's data directory for this package; ``SIMSIAM_RETRIEVAL_HOME`` moves it."""
    moved = os.environ.get(HOME_VARIABLE)
    return absolute(moved) if moved else Path(platformdirs.user_data_dir("simsiam-retrieval", appauthor=False))


def default_collection() -> Path:
    """The collection that ``index`` writes to without ``--collection``."""
    return home() / "collections" / "default"


def default_cache() -> Path:
    """Where decoded training images are kept that do not fit into memory; it may be deleted at any time."""
    return home() / "cache"


def remember(collection: Path) -> None:
    """Make ``collection`` the one that other commands find by themselves."""
    try:
        home().mkdir(parents=True, exist_ok=True)
        write_json(home() / "last.json", {"collection": str(collection.absolute())})
    except OSError:
        pass  # a convenience; the collection itself is safe


def find_collection(given: Path | None) -> Path:
    """The collection to read: ``given``, else the last one indexed.

    Raises :class:`UserError` when there is none yet.
    """
    if given is not None:
        return absolute(given)
    try:
        last = Path(parse_json((home() / "last.json").read_text(encoding="utf-8"))["collection"])
    except (OSError, ValueError, KeyError, TypeError):
        last = default_collection()
    if not last.exists():
        raise UserError("nothing is indexed yet; run: python -m simsiam_retrieval.index FOLDER")
    return last
