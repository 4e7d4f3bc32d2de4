"""Default locations of collections and caches, and the collection that was used last."""

import os
from pathlib import Path

import platformdirs

from ..images.files import absolute
from .atomic_files import parse_json, write_json
from .errors import UserError

HOME_VARIABLE = "SIMSIAM_RETRIEVAL_HOME"


def home() -> Path:
    """Return the user's data directory for this package.

    Returns:
        The directory; ``SIMSIAM_RETRIEVAL_HOME`` changes it.
    """
    moved = os.environ.get(HOME_VARIABLE)
    return absolute(moved) if moved else Path(platformdirs.user_data_dir("simsiam-retrieval", appauthor=False))


def default_collection() -> Path:
    """Return the collection that ``index`` writes without ``--collection``.

    Returns:
        Its folder.
    """
    return home() / "collections" / "default"


def default_cache() -> Path:
    """Return the folder for decoded training images that do not fit into memory.

    Returns:
        The folder. It may be deleted at any time.
    """
    return home() / "cache"


def remember(collection: Path) -> None:
    """Make a collection the default for other commands.

    Args:
        collection: Its folder.
    """
    from .known_collections import note_use

    try:
        home().mkdir(parents=True, exist_ok=True)
        write_json(home() / "last.json", {"collection": str(collection.absolute())})
        note_use(collection.absolute())
    except OSError:
        pass  # only a convenience; the collection itself is safe


def last_collection() -> Path:
    """Return the collection that commands use by default.

    Returns:
        Its folder, which may not exist any more.
    """
    try:
        return Path(parse_json((home() / "last.json").read_text(encoding="utf-8"))["collection"])
    except (OSError, ValueError, KeyError, TypeError):
        return default_collection()


def find_collection(given: Path | str | None) -> Path:
    """Find the collection to read.

    Args:
        given: A folder, a name that ``collections`` lists, or None for the collection used last.

    Returns:
        Its folder.

    Raises:
        UserError: There is no collection yet, or the one used last does not exist any more.
    """
    from .known_collections import known_collections, path_of

    if given is not None:
        return path_of(given)
    last = last_collection()
    if last.exists():
        return last
    others = [known for known in known_collections() if known.present]
    if not others:
        raise UserError("nothing is indexed yet; run: python -m simsiam_retrieval.index FOLDER")
    named = ", ".join(known.name for known in others[:5]) + (", ..." if len(others) > 5 else "")
    noted = (home() / "last.json").exists()
    missing = f"{last}: the collection used last is not there any more" if noted else "no collection was chosen yet"
    raise UserError(
        f"{missing}; there are: {named}; choose one: python -m simsiam_retrieval.collections use {others[0].name}"
    )
