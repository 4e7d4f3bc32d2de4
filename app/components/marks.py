"""Images to mark as belonging to classes: the component."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypedDict, TypeGuard

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


class Mark(NamedTuple):
    """A click on an image."""

    label: str | None  # None takes the label away
    content: str  # of the image that was shown; see ``Markable``


class Markable(TypedDict):
    """An image to mark."""

    id: int
    name: str
    path: str
    label: str | None
    note: str  # below the name: what the probe says
    content: str  # identifies the file's content, so that a click is never taken for another image
    source: str  # address of the thumbnail; empty when it is missing
    link: str  # address of its neighbours


def marks(
    tiles: list[Markable],
    classes: list[Class],
    *,
    active: tuple[str | None, int],
    label: str,
    on_mark: Callable[[dict[int, Mark]], None],
) -> None:
    """Draw tiles and the classes to label them with.

    Args:
        tiles: The tiles.
        classes: The classes.
        active: The class that clicks give at first, and a number that changes when it is to be taken again.
        label: Description for screen readers.
        on_mark: Called with the new clicks, by id.
    """

    def marked() -> None:
        answered = st.session_state.get(ANSWERED, 0)
        number, found = read(st.session_state[KEY]["mark"], {one["name"] for one in classes}, answered)
        on_mark(found)
        st.session_state[ANSWERED] = max(answered, number)

    data = {
        "tiles": tiles,
        "classes": classes,
        "active": active[0],
        "said": active[1],
        "label": label,
        "answered": st.session_state.get(ANSWERED, 0),
    }
    _component(key=KEY, data=data, on_mark_change=marked)


def read(value: object, classes: set[str], answered: int = 0) -> tuple[int, dict[int, Mark]]:
    """Read a message from the browser, which may send anything.

    Marks up to the number ``answered`` were dealt with before. They are not dealt with again, because another tab may
    have given the image another label since.

    Args:
        value: The message.
        classes: Names of the classes.
        answered: Number of the last message that was dealt with.

    Returns:
        Its number, and the marks that make sense.
    """
    number = value.get("number") if isinstance(value, dict) else None
    given = value.get("marks") if isinstance(value, dict) else None
    if not _is_number(number) or not isinstance(given, dict) or len(given) > MOST_MARKS:
        return 0, {}
    marks = {}
    for id_, mark in given.items():
        if not isinstance(id_, str) or not id_.isascii() or not id_.isdecimal() or len(id_) > 18:
            continue
        match mark:
            case {"number": int(told), "name": str() | None as name, "content": str(content)}:
                if told > answered and (name is None or name in classes):
                    marks[int(id_)] = Mark(name, content)
    return number, marks


def content_of(source: str) -> str:
    """Return what identifies a tile's image.

    Args:
        source: Address of its thumbnail.

    Returns:
        The text.
    """
    return hashlib.blake2b(source.encode(), digest_size=8).hexdigest()


def _is_number(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and 0 <= value < 2**53
