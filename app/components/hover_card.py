"""The picture of the point below the pointer: asked for one by one, apart from the map with its many points."""

from collections.abc import Callable
from typing import TypedDict

import streamlit as st
from streamlit.components.v2 import component

from .. import settings

KEY = "hover"
ASKED = "hover asked"
WAIT = 60  # milliseconds that the pointer must rest on a point

HTML = '<div class="card" hidden><img alt=""><div class="name"></div><div class="note"></div></div>'

CSS = """
.card { position: fixed; z-index: 1000; width: 11rem; padding: 0.5rem; border-radius: 10px; pointer-events: none;
        font-family: var(--st-font); color: var(--st-text-color); background: var(--st-background-color);
        border: 1px solid color-mix(in srgb, var(--st-text-color) 18%, transparent);
        box-shadow: 0 6px 24px rgb(0 0 0 / 0.25); }
img { display: block; width: 100%; height: 9rem; object-fit: contain; border-radius: 6px;
      background: var(--st-secondary-background-color); }
.name, .note { white-space: nowrap; overflow: hidden; text-overflow: ellipsis; unicode-bidi: isolate;
               font-size: 0.85rem; }
.name { margin-top: 0.4rem; }
.note { opacity: 0.68; }
"""

# Names are set as text, never as HTML.
JS = f"""
const WAIT = {WAIT};
const known = new Map();  // id -> what Python said of it
let knownOf = null;  // of which collection
const cards = new WeakMap();

const place = (card, at) => {{
  const gap = 16;
  card.hidden = false;
  const [width, height] = [card.offsetWidth, card.offsetHeight];
  const left = at.left + gap + width > window.innerWidth ? at.left - gap - width : at.left + gap;
  card.style.left = `${{Math.max(4, left)}}px`;
  card.style.top = `${{Math.max(4, Math.min(at.top - height / 2, window.innerHeight - height - 4))}}px`;
}};

class Card {{
  constructor(element) {{
    this.element = element;
    this.at = null;
    this.listener = (event) => this.pointed(event.detail);
    window.addEventListener("simsiam-map-hover", this.listener);
  }}
  pointed(at) {{
    this.at = at;
    clearTimeout(this.timer);
    if (at === null) this.element.hidden = true;
    else if (known.has(at.id)) this.show();
    else {{
      this.element.hidden = true;
      this.timer = setTimeout(() => this.ask(at.id), WAIT);
    }}
  }}
  show() {{
    const found = known.get(this.at.id);
    this.element.querySelector("img").src = found.source;
    this.element.querySelector("img").hidden = !found.source;
    this.element.querySelector("img").alt = found.name;
    this.element.querySelector(".name").textContent = found.name;
    this.element.querySelector(".note").textContent = this.at.group;
    place(this.element, this.at);
  }}
  told(card) {{
    if (card.of !== knownOf) known.clear();
    knownOf = card.of;
    if (card.id === null) return;
    if (known.size > 500) known.clear();
    known.set(card.id, card);
    if (this.at?.id === card.id) this.show();
  }}
}}

export default function ({{ data, parentElement, setTriggerValue }}) {{
  const element = parentElement.querySelector(".card");
  if (!cards.has(element)) cards.set(element, new Card(element));
  const card = cards.get(element);
  card.ask = (id) => setTriggerValue("ask", id);
  card.told(data);
}}
"""

_component = component("simsiam_retrieval_hover", html=HTML, css=CSS, js=JS)


class Card(TypedDict):
    """What is shown of one image."""

    id: int | None  # None: nothing yet
    name: str
    source: str  # address of the thumbnail; empty when it is missing


NOTHING = Card(id=None, name="", source="")


@st.fragment
def hover(look_up: Callable[[int], Card]) -> None:
    """Show a card beside the point of the map that the pointer rests on.

    Args:
        look_up: Returns the card of an id.
    """

    def asked() -> None:
        id_ = st.session_state[KEY]["ask"]
        st.session_state[ASKED] = id_ if isinstance(id_, int) else None

    id_ = st.session_state.get(ASKED)
    data = {**(NOTHING if id_ is None else look_up(id_)), "of": settings.token()}
    _component(key=KEY, data=data, on_ask_change=asked)
