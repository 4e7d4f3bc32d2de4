"""What the network sees: the picture of views that a run writes at its start."""

import io
from pathlib import Path

import streamlit as st

from simsiam_retrieval.images.apart import read_image_apart
from simsiam_retrieval.images.decode import ImageError
from simsiam_retrieval.training.run_files import VIEWS, VIEWS_FILE

from .. import markup

TILE = 160  # pixels of a view on the page
VIEW_NAMES = ("image", *(f"view {number}" for number in range(1, VIEWS + 1)))


def views(run: Path, name: str) -> None:
    """Draw views of the user's own images, as the run's first step saw them; nothing for a run without the picture.

    Args:
        run: The run folder.
        name: The run's name, for the heading; "" if it is the only one.
    """
    tiles = _view_tiles(run)
    if not tiles:
        return
    of = f", {name}" if name else ""
    markup.section(f"What the network sees{of}", "each image, then views of it as they are drawn anew in every epoch")
    cells = [
        f'<figure><img src="{markup.jpeg_address(tile)}" alt="{VIEW_NAMES[number % len(VIEW_NAMES)]} of image '
        f'{number // len(VIEW_NAMES) + 1}"></figure>'
        for number, tile in enumerate(tiles)
    ]
    heads = "".join(f"<span>{head}</span>" for head in VIEW_NAMES)
    st.html(f'<div class="sr-views">{heads}{"".join(cells)}</div>')


def _view_tiles(run: Path) -> list[bytes]:
    """The squares of a run's sheet, line by line, as JPEG; none for a run that has no sheet."""
    file = run / VIEWS_FILE
    try:
        return _cut(file, file.stat().st_mtime_ns)
    except OSError:
        return []


@st.cache_data(show_spinner=False, max_entries=32)
def _cut(file: Path, stamp: int) -> list[bytes]:
    try:
        sheet = read_image_apart(file).image
    except ImageError:
        return []
    side = sheet.width // len(VIEW_NAMES)
    tiles = []
    for top in range(0, sheet.height - side + 1, max(side, 1)):
        for column in range(len(VIEW_NAMES)):
            tile = sheet.crop((column * side, top, (column + 1) * side, top + side))
            tile.thumbnail((TILE, TILE))
            buffer = io.BytesIO()
            tile.save(buffer, "JPEG", quality=90)
            tiles.append(buffer.getvalue())
    return tiles
