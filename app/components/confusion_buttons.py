"""A confusion matrix whose cells are buttons, drawn by an inline component."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from streamlit.components.v2 import component

HTML = '<div class="scroll"><table></table></div>'

CSS = """
.scroll { overflow-x: auto; font-family: var(--st-font); color: var(--st-text-color); padding-bottom: 0.4rem; }
table { border-collapse: separate; border-spacing: 2px; font-size: 0.85rem; font-variant-numeric: tabular-nums; }
th { font-weight: 400; text-align: right; white-space: nowrap; max-width: 11rem; overflow: hidden;
     text-overflow: ellipsis; padding: 0 0.4rem 0 0; unicode-bidi: isolate; }
thead th { vertical-align: bottom; padding: 0 0 0.3rem; }
thead th div { writing-mode: vertical-rl; transform: rotate(180deg); max-height: 9rem; overflow: hidden;
               text-overflow: ellipsis; text-align: left; margin: 0 auto; }
td { padding: 0; }
button { font: inherit; color: inherit; width: 2.6rem; height: 2.1rem; border: 0; border-radius: 5px; cursor: pointer;
         background: color-mix(in srgb, var(--ink) calc(var(--part) * 75%), var(--st-secondary-background-color)); }
button:disabled { cursor: default; opacity: 0.5; }
button:focus-visible, button[aria-pressed="true"] { outline: 2px solid var(--st-primary-color); outline-offset: 1px; }
button.strong { color: #ffffff; }
"""

JS = """
const element = (kind, text) => {
  const made = document.createElement(kind);
  if (text !== undefined) made.textContent = text;
  return made;
};

export default function ({ data, parentElement, setTriggerValue }) {
  const head = element("tr");
  head.append(element("td"));
  for (const name of data.classes) {
    const cell = element("th");
    cell.scope = "col";
    cell.title = name;
    cell.append(element("div", name));
    head.append(cell);
  }
  const top = element("thead");
  top.append(head);
  const body = element("tbody");
  data.counts.forEach((row, truth) => {
    const line = element("tr");
    const name = element("th", data.classes[truth]);
    name.scope = "row";
    name.title = data.classes[truth];
    line.append(name);
    const total = Math.max(1, row.reduce((sum, count) => sum + count, 0));
    row.forEach((count, guess) => {
      const cell = element("td");
      const button = element("button", count ? String(count) : "");
      const part = count / total;
      button.style.setProperty("--part", part);
      button.style.setProperty("--ink", truth === guess ? "#0f766e" : "#b45309");
      if (part > 0.5) button.className = "strong";
      button.disabled = count === 0;
      button.setAttribute("aria-pressed", String(data.chosen[0] === truth && data.chosen[1] === guess));
      const said = `${data.classes[truth]} taken for ${data.classes[guess]}: ${count}`;
      button.setAttribute("aria-label", said);
      button.title = said;
      button.addEventListener("click", () => setTriggerValue("cell", [truth, guess]));
      cell.append(button);
      line.append(cell);
    });
    body.append(line);
  });
  const table = parentElement.querySelector("table");
  table.setAttribute("aria-label", data.label);
  table.replaceChildren(top, body);
}
"""

_component = component("simsiam_retrieval_result_matrix", html=HTML, css=CSS, js=JS)


def confusion(
    classes: Sequence[str], counts: NDArray[np.int64], chosen: tuple[int, int] | None, *, key: str
) -> tuple[int, int] | None:
    """Draw a confusion matrix of buttons.

    Args:
        classes: Names.
        counts: int64 (classes, classes), true classes in rows.
        chosen: Row and column of the chosen cell.
        key: Key of the widget.

    Returns:
        Row and column of the cell that was just clicked; None if none was.
    """
    data = {
        "classes": list(classes),
        "counts": counts.tolist(),
        "chosen": list(chosen) if chosen else [-1, -1],
        "label": "Confusion matrix: true classes in rows, what they were taken for in columns",
    }
    cell = _component(key=key, data=data, on_cell_change=lambda: None).cell
    if isinstance(cell, list | tuple) and len(cell) == 2 and all(isinstance(place, int) for place in cell):
        truth, guess = cell
        if 0 <= truth < len(classes) and 0 <= guess < len(classes):
            return truth, guess
    return None


def counted(truth: NDArray[np.int32], predicted: NDArray[np.int32], classes: int) -> NDArray[np.int64]:
    """Count how many images of each true class were taken for each class.

    Args:
        truth: (n,), true classes.
        predicted: (n,), predicted classes.
        classes: Number of classes.

    Returns:
        int64 (classes, classes), true classes in rows.
    """
    return np.bincount(truth.astype(np.int64) * classes + predicted, minlength=classes * classes).reshape(
        classes, classes
    )
