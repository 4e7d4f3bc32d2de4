"""One comparison of a collection for all visitors of this process, made again when the collection has changed."""

import threading
from dataclasses import dataclass, field

import streamlit as st

from simsiam_retrieval.collection import Collection
from simsiam_retrieval.collection.duplicates.comparison import Comparison

LEAST = 0.8  # the lowest threshold of the page: below it encoders find different pictures alike


@dataclass
class _Shelf:
    """Room for the comparison of one state of a collection."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    made: Comparison | None = None


def comparison(collection: Collection) -> Comparison:
    """Return the near-duplicate pairs of a collection as it is now. Shows progress while they are computed.

    Args:
        collection: The collection.

    Returns:
        The comparison, cached for its generation.

    Raises:
        UserError: The collection is gone or damaged.
    """
    shelf = _shelf(str(collection.folder), id(collection), collection.generation)
    place = st.empty()  # in any case: what follows keeps its position on the page
    if shelf.made is None:
        place.progress(0.0, "Comparing all images with each other")
        with shelf.lock:  # the second visitor waits for the first one's comparison
            if shelf.made is None:
                done = 0

                def on_progress(rows: int, total: int) -> None:
                    nonlocal done
                    done += rows
                    # the first image is compared with all others, the last one with none
                    left = (total - done) / max(total, 1)
                    text = f"Comparing all images with each other: {done:,} of {total:,}"
                    place.progress(min(max(1 - left**2, 0.0), 1.0), text)

                shelf.made = collection.compare(LEAST, on_progress)
        place.empty()
    return shelf.made


def forget() -> None:
    """Compare again, for all visitors: files may have gone since."""
    _shelf.clear()


@st.cache_resource(show_spinner=False, max_entries=2)
def _shelf(folder: str, opened: int, generation: int) -> _Shelf:
    return _Shelf()
