"""The images in a cell of the Linear probe page's confusion matrix."""

from pathlib import Path

import numpy as np
import streamlit as st

from simsiam_retrieval.collection import Collection
from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.evaluation.stored_predictions import Guesses, Predictions
from simsiam_retrieval.images.apart import read_image_apart
from simsiam_retrieval.images.decode import ImageError

from .. import markup, settings
from ..components import chosen_image
from ..components.gallery import Picture, Section, gallery, link_to
from ..open_collection import open_collection

IMAGES = 24  # of a cell on a page
SIDE = 256  # pixels of a preview that the collection does not have


def cell_images(found: Predictions, guesses: Guesses, cell: tuple[int, int], key: str) -> None:
    """Draw the images of a cell, the surest first, page by page.

    Args:
        found: Stored predictions.
        guesses: Those of the encoder and method that are shown.
        cell: True and predicted class.
        key: Name of what is shown, for the widget's key.
    """
    truth, guess = cell
    rows = np.flatnonzero((found.truth == truth) & (guesses.predicted == guess))
    rows = rows[np.argsort(-guesses.confidence[rows].astype(np.float32), kind="stable")]
    page = 1
    place = st.container()
    if len(rows) > IMAGES:
        page = st.pagination(-(-len(rows) // IMAGES), key=f"page {key} {truth} {guess}", width="stretch")
    shown = rows[(page - 1) * IMAGES : page * IMAGES].tolist()
    collection = _collection()
    verdict = "recognised" if truth == guess else f"taken for {found.classes[guess]}"
    images = f"{len(rows):,} image{'' if len(rows) == 1 else 's'}"
    pictures = [_picture(collection, found, row, float(guesses.confidence[row])) for row in shown]
    linked = "A click shows an image's neighbours in the collection." if any(one["link"] for one in pictures) else ""
    section = Section(
        heading=markup.shown(f"{found.classes[truth]}, {verdict}: {images}"),
        about=f"the surest first. {linked}".strip(),
        pictures=pictures,
        more="",
    )
    with place:
        gallery([section], key="images")


def _collection() -> Collection | None:
    try:
        return open_collection(settings.collection())
    except UserError:  # none is indexed: the results are there all the same
        return None


def _picture(collection: Collection | None, found: Predictions, row: int, confidence: float) -> Picture:
    path = found.paths[row]
    try:
        item = None if collection is None else collection.item_at(path)
        thumbnail = collection.thumbnail(item.id) if collection is not None and item is not None else _preview(path)
    except UserError:
        item, thumbnail = None, _preview(path)
    name = markup.shown(path.name)
    sure = f"{100 * confidence:.0f} % sure"
    return Picture(
        name=name,
        path=markup.shown(path),
        badge=f"{100 * confidence:.0f} %",
        best=False,
        notes=[] if thumbnail else ["gone, or cannot be shown"],
        label=f"{name}, {sure}",
        source=markup.jpeg_address(thumbnail) if thumbnail else "",
        link=link_to(item) if item is not None else "",
        boxes=[],
    )


def _preview(path: Path) -> bytes | None:
    """A small JPEG of a file outside the collection; None where there is none any more."""
    try:
        return _previewed(path, path.stat().st_mtime_ns)
    except OSError:
        return None


@st.cache_data(show_spinner=False, max_entries=2000)
def _previewed(path: Path, stamp: int) -> bytes | None:
    try:
        image = read_image_apart(path, SIDE).image
    except ImageError:
        return None
    image.thumbnail((SIDE, SIDE))
    return chosen_image.as_jpeg(image)
