"""Copies with their kinds, for all visitors of this process: verified once for a state of the collection."""

import threading
from dataclasses import dataclass, field
from pathlib import Path

import streamlit as st

from simsiam_retrieval.collection import Collection, Duplicate
from simsiam_retrieval.collection.duplicates.duplicate_list import kind_text
from simsiam_retrieval.collection.duplicates.move_script import script, spares
from simsiam_retrieval.collection.duplicates.pixels.kinds import KINDS
from simsiam_retrieval.collection.duplicates.preferences import LARGEST, OLDEST, SHORTEST, Preferences
from simsiam_retrieval.collection.duplicates.verifier import COMPARING

from .. import markup
from ..components.downloads import download

HELD = 4  # thresholds and preferences whose groups are kept
KEEP = {LARGEST: "the largest", OLDEST: "the oldest", SHORTEST: "the one with the shortest path"}


@dataclass
class _Shelf:
    """Room for the groups of one state of a collection, by threshold; None is equal bytes only."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    made: dict[tuple[float | None, Preferences], list[list[Duplicate]]] = field(default_factory=dict)


def preferences(collection: Collection) -> Preferences:
    """Let the visitor choose the best files and, of a collection of several folders, the pairs of interest.

    Args:
        collection: The collection.

    Returns:
        The choice.
    """
    roots = {str(root): root for root in collection.roots}
    several = len(roots) > 1
    with st.container(horizontal=True, vertical_alignment="bottom"):
        keep = st.selectbox(
            "Best file",
            [LARGEST, OLDEST, SHORTEST],
            format_func=lambda choice: KEEP[choice],
            key="keep",
            bind="query-params",
            width=220,
            help="Which file of a group is the best one; the others are compared with it",
        )
        reference = []
        if several:
            reference = st.multiselect(
                "Keep all files in",
                list(roots),
                format_func=markup.shown,
                key="reference",
                bind="query-params",
                width=340,
                placeholder="No folder",
                help="Files in these folders are the best ones; only other files are listed as copies of them",
            )
    across = several and st.toggle(
        "Only copies between different folders", key="across", bind="query-params", help="Such as backup and library"
    )
    return Preferences((), keep, tuple(roots[name] for name in reference if name in roots), bool(across))


def copies(collection: Collection, threshold: float | None, wish: Preferences) -> list[list[Duplicate]]:
    """Return groups of copies with their kinds. Shows progress while pixels are compared.

    Args:
        collection: The collection.
        threshold: Lowest cosine of pictures that are only similar; None for equal bytes only.
        wish: Which files are the best, and which pairs are of interest.

    Returns:
        The groups.

    Raises:
        UserError: The collection is gone or damaged.
    """
    shelf = _shelf(str(collection.folder), id(collection), collection.generation)
    place = st.empty()  # in any case: what follows keeps its position on the page
    key = (threshold, wish)
    if key not in shelf.made:
        with shelf.lock:
            if key not in shelf.made:

                def on_progress(stage: str, done: int, total: int) -> None:
                    what = "vectors of all images" if stage == COMPARING else "pixels of similar images"
                    place.progress(min(done / max(total, 1), 1.0), f"Comparing {what}: {done:,} of {total:,}")

                groups = collection.copies(threshold, wish, exact=threshold is None, on_progress=on_progress)
                while len(shelf.made) >= HELD:
                    shelf.made.pop(next(iter(shelf.made)))
                shelf.made[key] = groups
        place.empty()
    return shelf.made[key]


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


def moving(collection: Collection, groups: list[list[Duplicate]]) -> None:
    """Offer a script that moves spare files; nothing is moved by the page.

    Args:
        collection: The collection.
        groups: The groups that are shown.
    """
    with st.expander("Move spare files"):
        st.markdown(
            "A spare file loses nothing when it goes: the *same file*, the *same pixels*, or the same picture *resized "
            "or recompressed*. If kinds are chosen above, files of those kinds are moved. The script moves them to a "
            "folder, and deletes nothing. Read it first, then run it on the computer with the pictures: `sh moves.sh`."
        )
        folder = st.text_input("Folder for the spare files", str(_beside(collection)), key="spares folder")
        moves = spares(groups, st.session_state.get("kinds") or ())
        if not folder.startswith("/"):
            markup.faint("Type the whole path of a folder, from / on.")
        download(
            f"Script that moves {len(moves):,} {'file' if len(moves) == 1 else 'files'}",
            lambda: script(moves, "moves.sh", Path(folder)),
            "moves.sh",
            disabled=not (moves and folder.startswith("/")),
        )


def _beside(collection: Collection) -> Path:
    """A folder beside the pictures, not among them: the next update would index it again."""
    roots = collection.roots
    return (roots[0].parent if roots else Path.home()) / "spare pictures"


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
