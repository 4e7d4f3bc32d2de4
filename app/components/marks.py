"""Images to mark as belonging to classes: the component."""

from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

import streamlit as st
from streamlit.components.v2 import component

from . import names

HERE = Path(__file__).parent
KEY = "marks"
ANSWERED = "marks answered"  # number of the last message that was dealt with, in the session
MOST_MARKS = 1000  # that one message may carry

HTML = """
<div class="teach">
  <div class="classes" role="radiogroup" aria-label="Class that a click gives"></div>
  <p class="hint" role="status" hidden>Name a class first: type it into “New class” above and press Enter.</p>
  <ul class="tiles"></ul>
</div>
"""

_component = component(
    "simsiam_retrieval_marks",
    html=HTML,
    css=names.CSS + (HERE / "marks.css").read_text(encoding="utf-8"),
    js=names.JS + (HERE / "marks.js").read_text(encoding="utf-8"),
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
        number, found = read(st.session_state[KEY]["mark"], {one["name"] for one in classes})
        on_mark(found)
        st.session_state[ANSWERED] = number

    data = {
        "tiles": tiles,
        "classes": classes,
        "active": active[0],
        "said": active[1],
        "label": label,
        "answered": st.session_state.get(ANSWERED, 0),
    }
    _component(key=KEY, data=data, on_mark_change=marked)


def read(value: object, classes: set[str]) -> tuple[int, dict[int, str | None]]:
    """Number and marks of a message from the browser, which may send anything: of the marks those that make sense."""
    number = value.get("number") if isinstance(value, dict) else None
    given = value.get("marks") if isinstance(value, dict) else None
    if not isinstance(number, int) or not isinstance(given, dict) or len(given) > MOST_MARKS:
        return 0, {}
    return number, {
        int(id_): name
        for id_, name in given.items()
        if isinstance(id_, str) and id_.isascii() and id_.isdecimal() and len(id_) < 19
        if name is None or (isinstance(name, str) and name in classes)
    }
