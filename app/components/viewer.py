"""One picture over the whole window, with the arrow keys to the others; opened by the grid."""

from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

import streamlit as st
from streamlit.components.v2 import component

from .. import settings
from . import names

HERE = Path(__file__).parent
KEY = "viewer"
ASKED = "viewer asked"

HTML = """
<dialog class="viewer" aria-label="Picture" tabindex="-1">
  <div class="room">
    <img alt="" draggable="false">
    <button type="button" class="step back" data-do="back" aria-label="Previous (left arrow)">‹</button>
    <button type="button" class="step on" data-do="on" aria-label="Next (right arrow)">›</button>
    <button type="button" class="close" data-do="close" aria-label="Close (Escape)">×</button>
  </div>
  <div class="below">
    <div class="words"><div class="name"></div><div class="facts"></div></div>
    <div class="actions">
      <button type="button" data-do="pick">Find similar</button>
      <button type="button" data-do="mark">Mark</button>
      <button type="button" data-do="copy">Copy path</button>
      <button type="button" data-do="folder" hidden>Open folder</button>
    </div>
  </div>
</dialog>
"""

_component = component(
    "simsiam_retrieval_viewer",
    html=HTML,
    css=names.CSS + (HERE / "viewer.css").read_text(encoding="utf-8"),
    js=names.JS + (HERE / "viewer.js").read_text(encoding="utf-8"),
)


class Large(TypedDict):
    """What is shown of one image."""

    id: int | None  # None: nothing was asked for
    source: str  # address of the picture; empty when it cannot be shown
    facts: str  # one line


NOTHING = Large(id=None, source="", facts="")


@st.fragment
def viewer(look_up: Callable[[int], Large], on_folder: Callable[[int], None] | None) -> None:
    """Draw the place of the viewer, which shows one picture at a time.

    Args:
        look_up: Returns the picture of an id when it is asked for.
        on_folder: Called with the id whose folder is to be opened; None if the visitor is not at this machine.
    """

    def asked() -> None:
        id_ = st.session_state[KEY]["ask"]
        st.session_state[ASKED] = id_ if isinstance(id_, int) else None

    def folder() -> None:
        id_ = st.session_state[KEY]["folder"]
        if on_folder is not None and isinstance(id_, int):
            on_folder(id_)

    id_ = st.session_state.pop(ASKED, None)
    found = NOTHING if id_ is None else look_up(id_)
    data = {**found, "folders": on_folder is not None, "of": settings.token()}
    _component(key=KEY, data=data, on_ask_change=asked, on_folder_change=folder)
