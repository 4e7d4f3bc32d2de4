"""Pictures in a row, small: what else a search asks for. A click on one of a search takes it out."""

from collections.abc import Callable
from typing import TypedDict

import streamlit as st
from streamlit.components.v2 import component

KEY = "chips"

CSS = """
.chips { display: flex; flex-wrap: wrap; gap: 0.5rem 1.2rem; font-family: var(--st-font);
         color: var(--st-text-color); }
.row { display: flex; flex-wrap: wrap; align-items: center; gap: 0.4rem; }
.what { opacity: 0.68; font-size: 0.9rem; margin-right: 0.2rem; }
.chip { position: relative; display: block; width: 3.6rem; height: 3.6rem; padding: 0; border: 0; border-radius: 8px;
        overflow: hidden; font: inherit; color: inherit; background: var(--st-secondary-background-color); }
button.chip { cursor: pointer; }
.chip img { width: 100%; height: 100%; object-fit: cover; display: block; }
.chip.less img { filter: saturate(0.25) opacity(0.7); }
.chip .sign { position: absolute; right: 0.15rem; top: 0.15rem; width: 1.2rem; height: 1.2rem; border-radius: 50%;
              display: grid; place-items: center; font-size: 0.85rem; line-height: 1;
              background: var(--st-background-color); }
button.chip:hover .sign { color: var(--st-primary-color); }
button.chip:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 2px; }
.chip .nothing { font-size: 0.65rem; overflow-wrap: anywhere; }
"""

# Names are set as text, never as HTML.
JS = """
const made = (kind, className, text) => {
  const node = document.createElement(kind);
  node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
};

const chipOf = (chip, tell) => {
  const node = made(chip.id === null ? "div" : "button", `chip ${chip.kind}`);
  node.title = chip.name;
  if (chip.source) node.append(Object.assign(made("img", ""), { src: chip.source, alt: chip.name, draggable: false }));
  else node.append(made("span", "nothing", chip.name));
  if (chip.id === null) return node;
  node.type = "button";
  node.title = `Take ${chip.name} out of the search`;
  node.setAttribute("aria-label", node.title);
  node.append(made("span", "sign", "×"));
  node.addEventListener("click", () => tell("out", chip.id));
  return node;
};

export default function ({ data, parentElement, setTriggerValue }) {
  const rows = data.rows.map((row) => {
    const node = made("div", "row");
    node.append(made("span", "what", row.title), ...row.chips.map((chip) => chipOf(chip, setTriggerValue)));
    return node;
  });
  parentElement.querySelector(".chips").replaceChildren(...rows);
}
"""

_component = component("simsiam_retrieval_chips", html='<div class="chips"></div>', css=CSS, js=JS)


class Chip(TypedDict):
    """One picture."""

    id: int | None  # None: it cannot be taken out
    name: str
    kind: str  # "more", "less" or "given"
    source: str  # address of the thumbnail; empty when it is missing


def chips(rows: list[tuple[str, list[Chip]]], *, on_out: Callable[[int], None]) -> None:
    """Draw rows of a title and its pictures.

    Args:
        rows: Title and pictures of each row.
        on_out: Called with the id of a picture that is to be taken out.
    """

    def out() -> None:
        id_ = st.session_state[KEY]["out"]
        if isinstance(id_, int):
            on_out(id_)

    shown = [{"title": title, "chips": pictures} for title, pictures in rows if pictures]
    if shown:
        _component(key=KEY, data={"rows": shown}, on_out_change=out)
