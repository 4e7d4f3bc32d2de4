"""A confusion matrix whose cells show the images in them and can be clicked."""

from collections.abc import Callable
from typing import TypedDict

import streamlit as st
from streamlit.components.v2 import component

KEY = "confusion"

HTML = '<div class="scroll"><table><thead></thead><tbody></tbody></table></div><p></p>'

CSS = """
table { --cell: 2.9rem; }
.scroll { overflow-x: auto; font-family: var(--st-font); color: var(--st-text-color); padding: 2px; }
table { border-collapse: separate; border-spacing: 3px; font-size: 0.85rem; font-variant-numeric: tabular-nums; }
p { margin: 0.5rem 0 0; opacity: 0.68; font-size: 0.85rem; font-family: var(--st-font); color: var(--st-text-color); }
th { font-weight: 400; }
thead th { vertical-align: bottom; padding: 0 0 0.25rem; }
thead th span { writing-mode: vertical-rl; transform: rotate(180deg); max-height: 8rem; }
tbody th { text-align: right; padding-right: 0.4rem; }
tbody th span { max-width: 8rem; }
th span { display: inline-block; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; unicode-bidi: isolate;
          vertical-align: middle; }
td { padding: 0; width: var(--cell); min-width: var(--cell); height: var(--cell); text-align: center;
     border-radius: 6px; background: var(--st-secondary-background-color); position: relative; }
button { font: inherit; color: inherit; border: 0; width: 100%; height: 100%; border-radius: 6px; cursor: pointer;
         padding: 2px; overflow: hidden; position: relative; display: block; background: var(--tint); }
button:hover, button[aria-pressed="true"] { box-shadow: 0 0 0 2px var(--st-primary-color); }
button:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 2px; }
img { position: absolute; inset: 2px; width: calc(100% - 4px); height: calc(100% - 4px); object-fit: cover;
      border-radius: 5px; }
b { position: relative; font-weight: 600; }
img + b { position: absolute; right: 3px; bottom: 3px; padding: 0 0.3rem; border-radius: 4px; font-size: 0.75rem;
          background: var(--st-background-color); }
"""

JS = """
export default function ({ data, parentElement, setTriggerValue }) {
  const make = (kind, text) => {
    const made = document.createElement(kind);
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const heading = (name, scope) => {
    const cell = make("th");
    cell.scope = scope;
    cell.title = name;
    cell.append(make("span", name));
    return cell;
  };
  const top = make("tr");
  top.append(make("td"), ...data.classes.map((name) => heading(name, "col")));
  top.firstChild.style.background = "none";
  const rows = data.counts.map((counts, row) => {
    const line = make("tr");
    const total = counts.reduce((sum, count) => sum + count, 0);
    line.append(heading(data.classes[row], "row"));
    counts.forEach((count, column) => {
      const cell = make("td");
      if (count) {
        const button = make("button");
        button.type = "button";
        const right = row === column;
        const tint = right ? "var(--st-primary-color)" : "#d9480f";
        const part = Math.round(12 + (40 * count) / total);
        button.style.setProperty("--tint", `color-mix(in srgb, ${tint} ${part}%, transparent)`);
        const many = count === 1 ? "1 image" : `${count} images`;
        button.title = right
          ? `${many} of ${data.classes[row]} read as such`
          : `${many} of ${data.classes[row]} read as ${data.classes[column]}`;
        button.setAttribute("aria-label", button.title);
        button.setAttribute("aria-pressed", String(data.cell?.[0] === row && data.cell?.[1] === column));
        const face = data.faces[`${row},${column}`];
        if (face) {
          const image = make("img");
          image.src = face;
          image.alt = "";
          button.append(image);
        }
        button.append(make("b", String(count)));
        button.addEventListener("click", () => setTriggerValue("cell", [row, column]));
        cell.append(button);
      }
      line.append(cell);
    });
    return line;
  });
  const size = data.classes.length;
  const table = parentElement.querySelector("table");
  table.style.setProperty("--cell", size <= 8 ? "2.9rem" : size <= 11 ? "2.4rem" : "1.8rem");
  table.setAttribute("aria-label", "Confusion matrix");
  parentElement.querySelector("thead").replaceChildren(top);
  parentElement.querySelector("tbody").replaceChildren(...rows);
  parentElement.querySelector("p").textContent = data.caption;
}
"""

_component = component("simsiam_retrieval_confusion", html=HTML, css=CSS, js=JS)


class Matrix(TypedDict):
    """What the component draws."""

    classes: list[str]
    counts: list[list[int]]  # rows are the labels, columns what was predicted
    faces: dict[str, str]  # "row,column" -> address of a small picture
    cell: tuple[int, int] | None  # the one that is chosen
    caption: str


def confusion(matrix: Matrix, *, on_cell: Callable[[tuple[int, int]], None]) -> None:
    """Draw a confusion matrix of pictures.

    Args:
        matrix: The matrix.
        on_cell: Called with row and column of a cell that is clicked.
    """

    def clicked() -> None:
        size = len(matrix["classes"])
        value = st.session_state[KEY]["cell"]
        if isinstance(value, list) and len(value) == 2 and all(isinstance(n, int) and 0 <= n < size for n in value):
            on_cell((value[0], value[1]))

    _component(key=KEY, data=matrix, on_cell_change=clicked)
