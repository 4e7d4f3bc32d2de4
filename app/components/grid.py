"""A grid of images to click: links with pictures in them, and small buttons, drawn by an inline component."""

from collections.abc import Callable, Collection
from pathlib import Path

import streamlit as st
from streamlit.components.v2 import component

from ..settings import MAX_UPLOAD
from . import names
from .tiles import Tile

HERE = Path(__file__).parent
KEY = "grid"
MOST_MARKED = 2000  # images that one click can mark

_component = component(
    "simsiam_retrieval_grid",
    html='<ul class="grid"></ul>',
    css=names.CSS + (HERE / "grid.css").read_text(encoding="utf-8"),
    js=names.JS + (HERE / "grid.js").read_text(encoding="utf-8"),
)


def _nothing(value: object) -> None:
    """What a grid without this ability does."""


def grid(
    tiles: list[Tile],
    *,
    label: str,
    view: str,
    marked: Collection[int],
    refining: bool,
    words: bool = False,
    on_pick: Callable[[int], None],
    on_mark: Callable[[int], None],
    on_range: Callable[[list[int]], None] = _nothing,
    on_more: Callable[[int], None],
    on_less: Callable[[int], None],
    on_fold: Callable[[int], None] = _nothing,
    on_paste: Callable[[object], None] = _nothing,
) -> None:
    """Draw ``tiles``; ``on_pick`` gets the id of the one that is clicked, the others that of a tile's button.

    ``label`` says what the grid is to those who listen to the page. ``view`` names what is shown: where it changes,
    the page scrolls to its top, and with the browser's Back to where it was. ``marked``: ids shown as marked.
    ``refining``: whether there is a query that results can lead away from. ``words``: notes may take several lines.
    ``on_range`` gets ids to be marked.
    ``on_fold``: the near-duplicates of this image are to be shown, or hidden again. ``on_paste`` gets a pasted
    picture, base64, or the bytes of one that is too large.
    """

    def told(name: str, use: Callable[[int], None]) -> Callable[[], None]:
        def changed() -> None:
            id_ = st.session_state[KEY][name]
            if isinstance(id_, int):
                use(id_)

        return changed

    def ranged() -> None:
        ids = st.session_state[KEY]["range"]
        if isinstance(ids, list) and len(ids) <= MOST_MARKED and all(isinstance(id_, int) for id_ in ids):
            on_range(ids)

    _component(
        key=KEY,
        data={
            "tiles": tiles,
            "label": label,
            "view": view,
            "marked": list(marked),
            "refining": refining,
            "words": words,
            "most": MAX_UPLOAD * 2**20,  # bytes of a picture that is given
        },
        on_pick_change=told("pick", on_pick),
        on_mark_change=told("mark", on_mark),
        on_range_change=ranged,
        on_more_change=told("more", on_more),
        on_less_change=told("less", on_less),
        on_fold_change=told("fold", on_fold),
        on_paste_change=lambda: on_paste(st.session_state[KEY]["paste"]),
    )
