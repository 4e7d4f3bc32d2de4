"""What the command line told the pages; the server and the pages share one process."""

from dataclasses import dataclass, replace
from pathlib import Path

from simsiam_retrieval.core.known_collections import find_collection

MAX_UPLOAD = 100  # MB of a photo given as a query; no photo of a camera is larger


@dataclass(frozen=True)
class Settings:
    """Where the pages look."""

    collection: Path
    runs: Path
    own: bool = False  # only people at this machine see the pages: they may open folders and other collections


CHOSEN = "collection"  # in the session: the folder that this visitor looks at
_current: Settings | None = None


def use(settings: Settings | None) -> None:
    """Set the settings of all pages.

    Args:
        settings: The settings.
    """
    global _current
    _current = settings


def first_collection() -> Path:
    """Return the collection that new visitors see; the one indexed last if Streamlit was started by hand.

    Returns:
        Its folder.

    Raises:
        UserError: Nothing is indexed yet.
    """
    return _current.collection if _current is not None else find_collection(None)


def collection() -> Path:
    """Return the collection that this visitor looks at.

    Returns:
        Its folder.

    Raises:
        UserError: Nothing is indexed yet.
    """
    if not own():
        return first_collection()
    import streamlit as st  # late: the server reads settings before it has loaded Streamlit

    return st.session_state.setdefault(CHOSEN, first_collection())


def choose(folder: Path) -> None:
    """Show this visitor, and those who come later, another collection.

    Args:
        folder: Its folder.
    """
    global _current
    import streamlit as st

    if _current is not None and _current.own:
        st.session_state[CHOSEN] = folder
        _current = replace(_current, collection=folder)


def own() -> bool:
    """Return whether only people at this machine see the pages.

    Returns:
        True if they do.
    """
    return _current is not None and _current.own


def runs() -> Path:
    """Return the folder of training runs.

    Returns:
        The folder.
    """
    return _current.runs if _current is not None else Path("runs").absolute()
