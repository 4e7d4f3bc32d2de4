"""A grid of images to click: links with pictures in them, and small buttons, drawn by an inline component."""

from collections.abc import Callable, Collection

import streamlit as st
from streamlit.components.v2 import component

from .tiles import Tile

HTML = '<ul class="grid"></ul>'

CSS = """
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(10rem, 42%), 1fr)); gap: 1.1rem 0.9rem;
        list-style: none; margin: 0; padding: 0; font-family: var(--st-font); color: var(--st-text-color); }
li { margin: 0; min-width: 0; position: relative; }
a { display: block; color: inherit; text-decoration: none; border-radius: 8px; outline-offset: 3px; }
a:focus-visible { outline: 2px solid var(--st-primary-color); }
.frame { aspect-ratio: 1; border-radius: 8px; overflow: hidden; background: var(--st-secondary-background-color); }
img { width: 100%; height: 100%; object-fit: cover; display: block; transition: transform 0.2s ease; }
a:hover img { transform: scale(1.035); }
.name, .note { white-space: nowrap; overflow: hidden; text-overflow: ellipsis; unicode-bidi: isolate; }
.name { margin-top: 0.45rem; font-size: 0.875rem; line-height: 1.35; }
.note { font-size: 0.8rem; line-height: 1.35; opacity: 0.65; font-variant-numeric: tabular-nums; min-height: 1.35em; }
.weak .frame { opacity: 0.85; }
.weak:hover .frame { opacity: 1; }
.tools { position: absolute; top: 0.35rem; left: 0.35rem; right: 0.35rem; display: flex; gap: 0.3rem; opacity: 0;
         transition: opacity 0.15s ease; pointer-events: none; }
li:hover .tools, li:focus-within .tools, li.marked .tools { opacity: 1; }
@media (hover: none) { .tools { opacity: 1; } }
.tools button { pointer-events: auto; min-width: 1.9rem; height: 1.9rem; padding: 0 0.3rem; border-radius: 999px;
                border: 0; font: inherit; font-size: 1rem; line-height: 1; cursor: pointer; color: var(--st-text-color);
                background: var(--st-background-color); box-shadow: 0 1px 4px rgb(0 0 0 / 0.3); }
.tools button:hover { color: var(--st-primary-color); }
.tools button:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 1px; }
.tools button[aria-pressed="true"] { background: var(--st-primary-color); color: var(--st-background-color); }
.tools .mark { margin-right: auto; }
li.marked .frame { outline: 3px solid var(--st-primary-color); outline-offset: -3px; }
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

// A picture in the clipboard is a query, wherever on the page it is pasted but into a field.
const paste = { to: null };
window.addEventListener("paste", (event) => {
  const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith("image/"));
  const field = event.target?.closest?.("input, textarea, [contenteditable]");
  if (!file || field || !paste.to) return;
  event.preventDefault();
  const reader = new FileReader();
  reader.onload = () => paste.to(String(reader.result).split(",", 2)[1]);
  reader.readAsDataURL(file);
});

const element = (kind, className, text) => {
  const made = document.createElement(kind);
  made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
};

const BUTTONS = [
  { name: "mark", sign: "\u2713", says: "Mark" },
  { name: "more", sign: "+", says: "More like" },
  { name: "less", sign: "\u2212", says: "Less like" },
];

const toolsOf = (tile, state, act) => {
  const tools = element("div", "tools");
  for (const { name, sign, says } of BUTTONS) {
    if (name === "less" && !state.refining) continue;
    const button = element("button", name, sign);
    button.type = "button";
    button.title = name === "mark" ? says : `${says} this`;
    button.setAttribute("aria-label", `${says} ${tile.name}`);
    if (name === "mark") button.setAttribute("aria-pressed", String(state.marked.has(tile.id)));
    button.addEventListener("click", () => act(name, tile.id));
    tools.append(button);
  }
  return tools;
};

const tileOf = (tile, state, pick, act) => {
  const link = element("a", tile.weak ? "tile weak" : "tile");
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
  const item = element("li", state.marked.has(tile.id) ? "marked" : "");
  item.append(link, toolsOf(tile, state, act));
  return item;
};

export default function ({ data, parentElement, setTriggerValue }) {
  const list = parentElement.querySelector(".grid");
  const scroller = document.querySelector('[data-testid="stMain"]');
  const pick = (id) => {
    if (scroller) places.set(data.view, scroller.scrollTop);
    setTriggerValue("pick", id);
  };
  const act = (name, id) => {
    if (name !== "mark" && scroller) places.set(data.view, scroller.scrollTop);
    setTriggerValue(name, id);
  };
  const state = { marked: new Set(data.marked), refining: data.refining };
  const focused = list.contains(parentElement.activeElement) ? parentElement.activeElement : null;
  const at = focused && { id: focused.closest("li")?.querySelector("a")?.dataset.id, kind: focused.className };
  list.setAttribute("aria-label", data.label);
  list.replaceChildren(...data.tiles.map((tile) => tileOf(tile, state, pick, act)));
  if (at) {  // the keyboard goes on from here
    const same = [...list.children].find((item) => item.querySelector("a").dataset.id === at.id);
    const button = same && [...same.querySelectorAll("button")].find((one) => one.className === at.kind);
    (button ?? list.querySelector("a"))?.focus({ preventScroll: true });
  }
  paste.to = (picture) => setTriggerValue("paste", picture);
  if (scroller && shown !== null && shown !== data.view) {
    scroller.scrollTop = wentBack ? (places.get(data.view) ?? 0) : 0;
  }
  shown = data.view;
  wentBack = false;
}
"""

KEY = "grid"

_component = component("simsiam_retrieval_grid", html=HTML, css=CSS, js=JS)


def grid(
    tiles: list[Tile],
    *,
    label: str,
    view: str,
    marked: Collection[int],
    refining: bool,
    on_pick: Callable[[int], None],
    on_mark: Callable[[int], None],
    on_more: Callable[[int], None],
    on_less: Callable[[int], None],
    on_paste: Callable[[object], None],
) -> None:
    """Draw ``tiles``; ``on_pick`` gets the id of the one that is clicked, the others that of a tile's button.

    ``label`` says what the grid is to those who listen to the page. ``view`` names what is shown: where it changes,
    the page scrolls to its top, and with the browser's Back to where it was. ``marked``: ids shown as marked.
    ``refining``: whether there is a query that results can lead away from. ``on_paste`` gets a pasted picture, base64.
    """

    def told(name: str, use: Callable[[int], None]) -> Callable[[], None]:
        def changed() -> None:
            id_ = st.session_state[KEY][name]
            if isinstance(id_, int):
                use(id_)

        return changed

    _component(
        key=KEY,
        data={"tiles": tiles, "label": label, "view": view, "marked": list(marked), "refining": refining},
        on_pick_change=told("pick", on_pick),
        on_mark_change=told("mark", on_mark),
        on_more_change=told("more", on_more),
        on_less_change=told("less", on_less),
        on_paste_change=lambda: on_paste(st.session_state[KEY]["paste"]),
    )
