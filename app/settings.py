"""What the command line told the pages; the server and the pages share one process."""

from dataclasses import dataclass
from pathlib import Path

from simsiam_retrieval.core.known_collections import find_collection

MAX_UPLOAD = 100  # MB of a photo given as a query; no photo of a camera is larger


@dataclass(frozen=True)
class Settings:
    """Where the pages look."""

    collection: Path
    runs: Path


_current: Settings | None = None


def use(settings: Settings | None) -> None:
    """Make ``settings`` those of all pages."""
    global _current
    _current = settings


def collection() -> Path:
    """The collection folder; the one indexed last where Streamlit was started by hand.

    Raises :class:`UserError` when nothing is indexed yet.
    """
    return _current.collection if _current is not None else find_collection(None)


def runs() -> Path:
    """The folder of training runs."""
    return _current.runs if _current is not None else Path("runs").absolute()
