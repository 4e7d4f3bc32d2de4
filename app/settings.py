"""What the command line told the pages; the server and the pages share one process."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from simsiam_retrieval.core.known_collections import find_collection, known_collections

MAX_UPLOAD = 100  # MB of a photo given as a query; no photo of a camera is larger


@dataclass(frozen=True)
class Settings:
    """Where the pages look."""

    collection: Path
    runs: Path
    own: bool = False  # only people at this machine see the pages: they may open folders and other collections


CHOSEN = "collection"  # in the session: the folder that this visitor looks at
OF = "of"  # in addresses with ids: the collection that they are of, where it is not the one the app began with
_current: Settings | None = None
_begun_with: Path | None = None


def use(settings: Settings | None) -> None:
    """Set the settings of all pages.

    Args:
        settings: The settings.
    """
    global _current, _begun_with
    _current = settings
    _begun_with = None if settings is None else settings.collection


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


def mark() -> dict[str, str]:
    """Return what addresses with ids need besides, so that Back leads to images of the same collection.

    Returns:
        Query parameters; empty for the collection that the app began with.
    """
    return {} if not own() or collection() == _begun_with else {OF: token()}


def marked(given: str | None) -> Path | None:
    """Find the collection that an address is of.

    Args:
        given: Value of the parameter ``OF``; None without one.

    Returns:
        Its folder; None if that cannot be told.
    """
    if given is None:
        return _begun_with
    return next((one.path for one in known_collections() if token(one.path) == given), None)


def token(folder: Path | None = None) -> str:
    """Return a short name of a collection for browsers, which is not its path.

    Args:
        folder: Its folder; None for the collection that this visitor looks at.

    Returns:
        Eight hexadecimal digits.
    """
    folder = collection() if folder is None else folder
    return hashlib.blake2b(bytes(folder), digest_size=4).hexdigest()


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
