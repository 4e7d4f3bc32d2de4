"""Thumbnails for the map where it is zoomed in: asked for as they come into view, apart from its many points."""

from collections.abc import Callable, Sequence

import streamlit as st
from streamlit.components.v2 import component

KEY = "map faces"
ASKED = "map faces asked"
MOST = 120  # at a time

JS = """
let asking = null;
window.addEventListener("simsiam-map-faces", (event) => asking?.(event.detail));

export default function ({ data, setTriggerValue }) {
  asking = (ids) => setTriggerValue("ask", ids);
  if (Object.keys(data.faces).length) {
    window.dispatchEvent(new CustomEvent("simsiam-map-faces-told", { detail: data.faces }));
  }
}
"""

_component = component("simsiam_retrieval_map_faces", html="<span></span>", js=JS)


@st.fragment
def map_faces(look_up: Callable[[Sequence[int]], dict[int, str]]) -> None:
    """Send the map the small pictures that it asks for.

    Args:
        look_up: Returns id -> address of a picture, for ids.
    """

    def asked() -> None:
        ids = st.session_state[KEY]["ask"]
        if isinstance(ids, list):
            st.session_state[ASKED] = [id_ for id_ in ids[:MOST] if isinstance(id_, int)]

    found = look_up(st.session_state.pop(ASKED, []))
    _component(key=KEY, data={"faces": {str(id_): source for id_, source in found.items()}}, on_ask_change=asked)
