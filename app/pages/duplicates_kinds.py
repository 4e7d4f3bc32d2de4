"""Copies with their kinds, for all visitors of this process: verified once for a state of the collection."""

import threading
from dataclasses import dataclass, field

import streamlit as st

from simsiam_retrieval.collection import Collection, Duplicate
from simsiam_retrieval.collection.duplicates.duplicate_list import kind_text
from simsiam_retrieval.collection.duplicates.pixels.kinds import KINDS
from simsiam_retrieval.collection.duplicates.verifier import COMPARING

HELD = 4  # thresholds whose groups are kept


@dataclass
class _Shelf:
    """Room for the groups of one state of a collection, by threshold; None is equal bytes only."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    made: dict[float | None, list[list[Duplicate]]] = field(default_factory=dict)


def copies(collection: Collection, threshold: float | None) -> list[list[Duplicate]]:
    """Return groups of copies with their kinds. Shows progress while pixels are compared.

    Args:
        collection: The collection.
        threshold: Lowest cosine of pictures that are only similar; None for equal bytes only.

    Returns:
        The groups.

    Raises:
        UserError: The collection is gone or damaged.
    """
    shelf = _shelf(str(collection.folder), id(collection), collection.generation)
    place = st.empty()  # in any case: what follows keeps its position on the page
    if threshold not in shelf.made:
        with shelf.lock:
            if threshold not in shelf.made:

                def on_progress(stage: str, done: int, total: int) -> None:
                    what = "vectors of all images" if stage == COMPARING else "pixels of similar images"
                    place.progress(min(done / max(total, 1), 1.0), f"Comparing {what}: {done:,} of {total:,}")

                groups = collection.copies(threshold, exact=threshold is None, on_progress=on_progress)
                while len(shelf.made) >= HELD:
                    shelf.made.pop(next(iter(shelf.made)))
                shelf.made[threshold] = groups
        place.empty()
    return shelf.made[threshold]


def chosen(groups: list[list[Duplicate]]) -> list[list[Duplicate]]:
    """Let the visitor choose kinds, each with its number of files, and return the groups of those.

    Args:
        groups: All groups.

    Returns:
        The groups with the files of the chosen kinds; all groups if none is chosen.
    """
    counts = {kind: sum(file.kind == kind for group in groups for file in group[1:]) for kind in KINDS}
    there = [kind for kind in KINDS if counts[kind]]
    wanted = st.pills(
        "Kinds",
        there,
        selection_mode="multi",
        format_func=lambda kind: f"{kind} {counts[kind]:,}",
        key="kinds",
        bind="query-params",
        help="Show only these kinds of copies; all without a choice",
    )
    if not wanted:
        return groups
    shown = [[group[0], *(file for file in group[1:] if file.kind in wanted)] for group in groups]
    return [group for group in shown if len(group) > 1]


def kind_note(file: Duplicate) -> str:
    """Say on a picture what kind of copy it is.

    Args:
        file: The file.

    Returns:
        The note; "" for the best file.
    """
    return kind_text(file)


def forget() -> None:
    """Look again, for all visitors; verdicts on the same files stay in the collection's folder."""
    _shelf.clear()


@st.cache_resource(show_spinner=False, max_entries=2)
def _shelf(folder: str, opened: int, generation: int) -> _Shelf:
    return _Shelf()
