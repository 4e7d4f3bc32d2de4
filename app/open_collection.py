"""One collection for all visitors of this process, opened again when another one takes its place on disk."""

from pathlib import Path

import streamlit as st

from simsiam_retrieval.collection import Collection
from simsiam_retrieval.collection.storage.catalog_file import FILE


def open_collection(folder: Path) -> Collection:
    """Open a collection; all visitors share it.

    Args:
        folder: Its folder.

    Returns:
        The collection.

    Raises:
        UserError: It is gone or damaged.
    """
    try:
        status = (folder / FILE).stat()
        identity = (status.st_dev, status.st_ino)
    except OSError:
        identity = None  # Collection.open says what is the matter
    return _opened(str(folder), identity)


# not closed when it falls out: another thread may be reading, and the last reference closes it
@st.cache_resource(show_spinner=False, max_entries=4)
def _opened(folder: str, identity: tuple[int, int] | None) -> Collection:
    return Collection.open(folder)
