"""What the probe of the Teach page has learnt: accuracy, confusion matrix, and files to take away."""

from collections.abc import Mapping

import numpy as np
import streamlit as st

from simsiam_retrieval.collection import Collection
from simsiam_retrieval.metrics.intervals import wilson

from .. import markup
from ..collection_snapshot import Taught, Whole
from ..components import tiles
from ..components.confusion_pictures import Matrix, confusion
from ..components.downloads import as_csv, download
from . import teach_ranking

MISREAD = "Likely mistakes"  # the list that a click in the matrix opens
MATRIX = 16  # classes that the confusion matrix shows, at most
FACES = 80  # pictures in it, at most


def results(collection: Collection, images: Whole, labels: dict[int, str], lesson: Taught | None) -> None:
    """Draw what the probe has learnt: accuracy, confusion matrix, files to take away.

    Args:
        collection: The collection.
        images: Its images.
        labels: Item id -> label.
        lesson: The predictions; None before there are two classes.
    """
    markup.section("What the probe has learnt")
    if lesson is None:
        markup.faint("Nothing yet: it trains by itself as soon as two classes have a labelled image each.")
    else:
        _accuracy(lesson)
        _confusion(collection, images, lesson)
    if labels:
        _exports(collection, images, labels, lesson)


def _accuracy(lesson: Taught) -> None:
    checked = lesson.checked
    if checked is None:
        markup.faint("Its accuracy can be measured once two classes have two labelled images each.")
        return
    n = len(checked.rows)
    low, high = wilson(checked.hits, n)
    commonest = int(np.bincount(checked.truth).max())
    markup.figures(
        [
            ("Accuracy", f"{checked.hits / n:.0%}"),
            ("95 % interval", f"{low:.0%} – {high:.0%}"),
            ("Baseline", f"{commonest / n:.0%}"),
        ]
    )
    left_out = len(lesson.labels) - n
    some = f" of {len(lesson.labels):,}" if left_out else ""  # alone in their class, or more than are checked
    markup.faint(
        f"{checked.folds}-fold cross-validation with {n:,}{some} labelled images. The baseline always names the most "
        "frequent class. Images from “Next” are harder than most, so other images may get better figures."
    )


def _confusion(collection: Collection, images: Whole, lesson: Taught) -> None:
    checked = lesson.checked
    if checked is None:
        return
    counts = checked.confusion
    wrong = counts.sum(axis=0) + counts.sum(axis=1) - 2 * counts.diagonal()
    kept = np.sort(np.argsort(-wrong, kind="stable")[:MATRIX])
    faces = {}
    pairs = [(a, b) for a in range(len(kept)) for b in range(len(kept)) if a != b and counts[kept[a], kept[b]]]
    for a, b in sorted(pairs, key=lambda pair: -counts[kept[pair[0]], kept[pair[1]]])[:FACES]:
        row = teach_ranking.misread(lesson, (int(kept[a]), int(kept[b])))[0]
        if face := _face(collection, images.key, int(images.ids[row])):
            faces[f"{a},{b}"] = face
    caption = "Rows: your labels. Columns: what the probe reads. Click a cell to see its images."
    if len(kept) < len(counts):
        caption += f" Of {len(counts)} classes, the {MATRIX} with most mistakes are shown."
    names = [checked.classes[number] for number in kept.tolist()]
    chosen = cell_of(lesson, st.session_state.get("teach cell"))
    places = {number: place for place, number in enumerate(kept.tolist())}
    cell = (places[chosen[0]], places[chosen[1]]) if chosen is not None and set(chosen) <= places.keys() else None

    def clicked(place: tuple[int, int]) -> None:
        st.session_state["teach cell"] = (names[place[0]], names[place[1]])
        st.session_state["teach list"] = MISREAD

    confusion(
        Matrix(
            classes=[markup.shown(name) for name in names],
            counts=counts[np.ix_(kept, kept)].tolist(),
            faces=faces,
            cell=cell,
            caption=caption,
        ),
        on_cell=clicked,
    )


@st.cache_data(show_spinner=False, max_entries=2000)
def _face(_collection: Collection, key: tuple, id_: int) -> str:
    thumbnail = _collection.thumbnail(id_)
    return markup.jpeg_address(tiles.small(thumbnail)) if thumbnail else ""


def _exports(collection: Collection, images: Whole, labels: dict[int, str], lesson: Taught | None) -> None:
    markup.section("To take away")
    with st.container(horizontal=True):
        download("Labels as CSV", lambda: labels_csv(images, labels), "labels.csv")
        if lesson is not None:
            download("Predictions as CSV", lambda: predictions_csv(images, labels, lesson), "predictions.csv")
            download("Probe as ONNX", lambda: lesson.probe.as_onnx(collection.encoder_identity), "probe.onnx")
    if lesson is not None:
        markup.faint(f"The probe takes vectors of this collection's encoder ({collection.encoder_identity}).")


def labels_csv(images: Whole, labels: Mapping[int, str]) -> bytes:
    """Write path and label of the labelled images.

    Args:
        images: The images.
        labels: Item id -> label.

    Returns:
        CSV, UTF-8.
    """
    pairs = zip(images.ids.tolist(), images.paths, strict=True)
    return as_csv(("path", "label"), ((path, labels[id_]) for id_, path in pairs if id_ in labels))


def predictions_csv(images: Whole, labels: Mapping[int, str], lesson: Taught) -> bytes:
    """Write path, label, predicted class and its probability of all images.

    Args:
        images: The images.
        labels: Item id -> label; the column is empty for other images.
        lesson: The predictions.

    Returns:
        CSV, UTF-8.
    """
    best = lesson.probabilities.max(axis=1).tolist()
    columns = zip(images.ids.tolist(), images.paths, lesson.predicted.tolist(), best, strict=True)
    rows = ((p, labels.get(i, ""), lesson.probe.classes[number], f"{sure:.4f}") for i, p, number, sure in columns)
    return as_csv(("path", "label", "predicted", "probability"), rows)


def cell_of(lesson: Taught, cell: tuple[str, str] | None) -> tuple[int, int] | None:
    """Find the chosen cell of the confusion matrix.

    Args:
        lesson: The predictions.
        cell: True and predicted class, by name.

    Returns:
        Their numbers; None if one of them is gone.
    """
    checked = lesson.checked
    if checked is None or cell is None or not set(cell) <= set(checked.classes):
        return None
    return checked.classes.index(cell[0]), checked.classes.index(cell[1])
