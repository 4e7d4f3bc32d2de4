"""A grid of images to click: links with pictures in them, drawn by an inline component."""

from collections.abc import Callable

import streamlit as st
from streamlit.components.v2 import component

from .tiles import Tile

HTML = '<ul class="grid"></ul>'

CSS = """
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(10rem, 42%), 1fr)); gap: 1.1rem 0.9rem;
        list-style: none; margin: 0; padding: 0; font-family: var(--st-font); color: var(--st-text-color); }
li { margin: 0; min-width: 0; }
a { display: block; color: inherit; text-decoration: none; border-radius: 8px; outline-offset: 3px; }
a:focus-visible { outline: 2px solid var(--st-primary-color); }
.frame { aspect-ratio: 1; border-radius: 8px; overflow: hidden; background: var(--st-secondary-background-color); }
img { width: 100%; height: 100%; object-fit: cover; display: block; transition: transform 0.2s ease; }
a:hover img { transform: scale(1.035); }
.name, .note { white-space: nowrap; overflow: hidden; text-overflow: ellipsis; unicode-bidi: isolate; }
.name { margin-top: 0.45rem; font-size: 0.875rem; line-height: 1.35; }
.note { font-size: 0.8rem; line-height: 1.35; opacity: 0.65; font-variant-numeric: tabular-nums; min-height: 1.35em; }
a:hover .name { color: var(--st-primary-color); }
@media (prefers-reduced-motion: reduce) { img { transition: none; } a:hover img { transform: none; } }
"""

# Names are set as text, never as HTML. A plain click tells Python, so that the session goes on; with Ctrl, Shift or
# the middle button the link opens a tab of its own, as links do.
JS = """
const places = new Map();  // what was shown -> how far it was scrolled
let shown = null;
let wentBack = false;
window.addEventListener("popstate", () => { wentBack = true; });

const element = (kind, className, text) => {
  const made = document.createElement(kind);
  made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
};

const tileOf = (tile, pick) => {
  const link = element("a", "tile");
  link.href = tile.link;
  link.title = tile.path;
  link.setAttribute("aria-label", tile.label);
  link.dataset.id = tile.id;
  const frame = element("div", "frame");
  if (tile.source) {
    const image = element("img", "");
    image.alt = tile.name;
    image.src = tile.source;
    image.draggable = false;
    frame.append(image);
  }
  link.append(frame, element("div", "name", tile.name), element("div", "note", tile.note));
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey || event.button !== 0) return;
    event.preventDefault();
    pick(tile.id);
  });
  const item = element("li", "");
  item.append(link);
  return item;
};

export default function ({ data, parentElement, setTriggerValue }) {
  const list = parentElement.querySelector(".grid");
  const scroller = document.querySelector('[data-testid="stMain"]');
  const pick = (id) => {
    if (scroller) places.set(data.view, scroller.scrollTop);
    setTriggerValue("pick", id);
  };
  const hadFocus = list.contains(parentElement.activeElement);
  list.setAttribute("aria-label", data.label);
  list.replaceChildren(...data.tiles.map((tile) => tileOf(tile, pick)));
  if (hadFocus) list.querySelector("a")?.focus({ preventScroll: true });  // the keyboard goes on from here
  if (scroller && shown !== null && shown !== data.view) {
    scroller.scrollTop = wentBack ? (places.get(data.view) ?? 0) : 0;
  }
  shown = data.view;
  wentBack = false;
}
"""

KEY = "grid"

_component = component("simsiam_retrieval_grid", html=HTML, css=CSS, js=JS)


def grid(tiles: list[Tile], *, label: str, view: str, on_pick: Callable[[int], None]) -> None:
    """Draw ``tiles``; ``on_pick`` gets the id of the one that is clicked.

    ``label`` says what the grid is to those who listen to the page. ``view`` names what is shown: where it changes,
    the page scrolls to its top, and with the browser's Back to where it was.
    """

    def picked() -> None:
        id_ = st.session_state[KEY]["pick"]
        if isinstance(id_, int):
            on_pick(id_)

    _component(key=KEY, data={"tiles": tiles, "label": label, "view": view}, on_pick_change=picked)
