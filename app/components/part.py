"""The picture of a query, on which a part to search for can be drawn, by mouse, touch or numbers."""

from collections.abc import Callable, Sequence
from pathlib import Path

import streamlit as st
from streamlit.components.v2 import component

from ..markup import PICTURE_HEIGHT, jpeg_address

HERE = Path(__file__).parent
KEY = "part"
MOST_PARTS = 5  # of one search
LARGEST = 1_000_000  # pixels; a browser may send anything

HTML = """
<div class="part">
  <div class="stage"><img alt="" draggable="false"><div class="boxes"></div></div>
  <div class="tools">
    <button type="button" data-do="draw" aria-pressed="false">Draw a part</button>
    <button type="button" data-do="add" aria-pressed="false" title="The next part is searched for together with these"
      hidden>Add a part</button>
    <button type="button" data-do="whole" hidden>Whole picture</button>
  </div>
  <details>
    <summary>Part in pixels</summary>
    <form>
      <label>Left <input type="number" name="left" min="0" step="1" inputmode="numeric" required></label>
      <label>Top <input type="number" name="top" min="0" step="1" inputmode="numeric" required></label>
      <label>Width <input type="number" name="width" min="1" step="1" inputmode="numeric" required></label>
      <label>Height <input type="number" name="height" min="1" step="1" inputmode="numeric" required></label>
      <button type="submit">Search this part</button>
    </form>
  </details>
</div>
"""

_component = component(
    "simsiam_retrieval_part",
    html=HTML,
    css=(HERE / "part.css").read_text(encoding="utf-8"),
    js=(HERE / "part.js").read_text(encoding="utf-8"),
)

PixelBox = tuple[int, int, int, int]  # left, top, width, height


def part(
    jpeg: bytes,
    name: str,
    size: tuple[int, int],
    boxes: Sequence[PixelBox],
    *,
    on_boxes: Callable[[tuple[PixelBox, ...]], None],
) -> None:
    """Draw the picture, and the parts of it that are searched for.

    Args:
        jpeg: The picture, perhaps reduced.
        name: Alternative text.
        size: Width and height of the whole upright picture in pixels.
        boxes: Parts that are searched for, in pixels of the whole picture.
        on_boxes: Called with other parts when they were drawn; none is the whole picture.
    """

    def changed() -> None:
        found = read(st.session_state[KEY]["boxes"])
        if found is not None:
            on_boxes(found)

    width, height = size
    data = {
        "source": jpeg_address(jpeg),
        "name": name,
        "size": list(size),
        "boxes": [list(box) for box in boxes],
        "wide": f"min(100%, {PICTURE_HEIGHT * width / height:.2f}rem)",
        "most": MOST_PARTS,
    }
    _component(key=KEY, data=data, on_boxes_change=changed)


def read(value: object) -> tuple[PixelBox, ...] | None:
    """Read boxes that a browser sent.

    Args:
        value: What it sent.

    Returns:
        The boxes; None if it is anything else.
    """
    if not isinstance(value, list) or len(value) > MOST_PARTS:
        return None
    found = []
    for box in value:
        match box:
            case [int(left), int(top), int(width), int(height)]:
                if min(left, top) < 0 or min(width, height) < 1 or max(box) > LARGEST:
                    return None
                found.append((left, top, width, height))
            case _:
                return None
    return tuple(found)
