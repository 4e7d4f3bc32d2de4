"""Images to mark as belonging to classes: the component."""

from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

import streamlit as st
from streamlit.components.v2 import component

HERE = Path(__file__).parent
KEY = "marks"
MOST_MARKS = 1000  # that one message may carry

HTML = """
<div class="teach">
  <div class="classes" role="radiogroup" aria-label="Class that a click gives"></div>
  <ul class="tiles"></ul>
</div>
"""

_component = component(
    "simsiam_retrieval_marks",
    html=HTML,
    css=(HERE / "marks.css").read_text(encoding="utf-8"),
    js=(HERE / "marks.js").read_text(encoding="utf-8"),
)


class Class(TypedDict):
    """A class that images can be marked with."""

    name: str
    colour: str  # #rrggbb
    count: int  # labelled images


class Markable(TypedDict):
    """An image to mark."""

    id: int
    name: str
    path: str
    label: str | None
    note: str  # below the name: what the probe says
    source: str  # address of the thumbnail; empty when it is missing
    link: str  # address of its neighbours


def marks(
    tiles: list[Markable],
    classes: list[Class],
    *,
    active: tuple[str | None, int],
    label: str,
    on_mark: Callable[[dict[int, str | None]], None],
) -> None:
    """Draw ``tiles`` and the classes to choose from. ``on_mark`` gets labels, or None to take one away, by id.

    ``active``: the class that clicks give at first, and a number that changes when it is to be taken again.
    """

    def marked() -> None:
        on_mark(read(st.session_state[KEY]["mark"], {one["name"] for one in classes}))

    data = {"tiles": tiles, "classes": classes, "active": active[0], "said": active[1], "label": label}
    _component(key=KEY, data=data, on_mark_change=marked)


def read(value: object, classes: set[str]) -> dict[int, str | None]:
    """Marks from the browser, which may send anything: those that make sense."""
    if not isinstance(value, dict) or len(value) > MOST_MARKS:
        return {}
    return {
        int(id_): name
        for id_, name in value.items()
        if isinstance(id_, str) and id_.isascii() and id_.isdecimal() and len(id_) < 19
        if name is None or (isinstance(name, str) and name in classes)
    }
