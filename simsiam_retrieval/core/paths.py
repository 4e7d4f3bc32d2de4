"""Default locations of collections and caches, and the collection that was used last."""

import os
from pathlib import Path

from .errors import UserError

HOME_VARIABLE = "SIMSIAM_RETRIEVAL_HOME"


def absolute(path: str | Path) -> Path:
    """Normalise a path: absolute, without ``~`` and ``..``. Links are kept.

    Args:
        path: A path.

    Returns:
        The absolute path.

    Raises:
        UserError: It is in the home of a user who does not exist.
    """
    try:
        return Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100
    except RuntimeError:
        raise UserError(f"{path}: no such user; write ./~... for a name that begins with ~") from None


def is_missing(path: Path) -> bool:
    """Return whether no file or folder has this name. If that cannot be checked, the answer is False.

    Args:
        path: A path.

    Returns:
        True if it does not exist.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False


def home() -> Path:
    """Return the user's data directory for this package.

    Returns:
        The directory; ``SIMSIAM_RETRIEVAL_HOME`` changes it.
    """
    import platformdirs  # here, as decoding processes need only the functions above

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
