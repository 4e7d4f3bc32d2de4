"""The Teach page: mark images as belonging to classes; a probe learns from them and says what to mark next."""

from collections.abc import Iterable

import numpy as np
import streamlit as st

from simsiam_retrieval.collection import Collection
from simsiam_retrieval.collection.explore.clusters import stored_clusters
from simsiam_retrieval.core.errors import UserError

from .. import markup, settings
from ..collection_snapshot import Taught, Whole, taught, whole
from ..components import paging, tiles
from ..components.marks import Class, Markable, content_of, marks
from ..open_collection import open_collection
from ..search.address import Address
from . import search_page, selecting, teach_ranking
from .teach_classes import SELECTED, class_controls, known_classes
from .teach_labels import mark_clicked, store
from .teach_results import MISREAD, cell_of, results

NEXT, PREDICTED, LABELLED = "Next", "Predicted", "Labelled"
SHOWN = 30  # images at a time
VARIETY = 30  # clusters that the first images come from


def show() -> None:
    """Draw the page."""
    try:
        collection = open_collection(settings.collection())
        count = len(collection)
        labels = collection.labels()
        markup.title("Teach", f"{len(labels):,} of {count:,} image{'' if count == 1 else 's'} labelled")
        if not count:
            markup.notice(
                "This collection holds no images yet. Index a folder of photos:", search_page.INDEX, kind="info"
            )
            return
        images = whole(collection)
        _begin(images)
        lesson = taught(images, labels)
        classes = known_classes(labels)
        left, right = st.columns([3, 2], gap="large")
        with left:
            _marking(collection, images, labels, classes, lesson)
        with right:
            results(collection, images, labels, lesson)
    except UserError as error:
        markup.notice(str(error))


def _begin(images: Whole) -> None:
    """Forget what was remembered of another collection: its ids mean other images here."""
    if st.session_state.get("teach of") != images.key[:-1]:
        for name in ("teach undo", "teach seen", "teach cell", "teach order", "teach at"):
            st.session_state.pop(name, None)
        st.session_state["teach of"] = images.key[:-1]


# -- marking


def _marking(
    collection: Collection, images: Whole, labels: dict[int, str], classes: list[Class], lesson: Taught | None
) -> None:
    class_controls(collection, images, labels, classes)
    if (refused := st.session_state.pop("teach refused", None)) is not None:
        markup.notice(refused)
    if not classes:
        markup.notice(
            "Name a class above, then click the images that belong to it; do so for two classes or more.", kind="info"
        )

    chosen = selecting.selected(collection)
    if not chosen and st.session_state.get("teach list") == SELECTED:
        st.session_state["teach list"] = NEXT

    def switched() -> None:
        st.session_state["teach cell"] = None

    what = st.segmented_control(
        "Show",
        (NEXT, PREDICTED, MISREAD, LABELLED, *((SELECTED,) if chosen else ())),
        default=NEXT,
        required=True,
        key="teach list",
        on_change=switched,
        label_visibility="collapsed",
        wrap=True,
    )
    name = None
    if what == PREDICTED and lesson is not None:
        name = st.selectbox("Taken for", lesson.probe.classes, key="teach class", width=320)
    if what == LABELLED and labels:
        every = "all classes"
        of = st.selectbox("Class", [every, *sorted(set(labels.values()))], key="teach labelled", width=320)
        name = None if of == every else of
    order = _order(collection, images, labels, lesson, what, name)
    _explained(what, labels, lesson, order)
    if what == SELECTED:
        with st.container(horizontal=True, vertical_alignment="center"):
            selecting.downloads(collection, chosen)
    pages = max(1, -(-len(order) // SHOWN)) if what in (MISREAD, LABELLED, SELECTED) else 1
    page = min(st.session_state.get("teach at", 1), pages)
    shown = order[(page - 1) * SHOWN : page * SHOWN]
    found = _markables(collection, images, labels, lesson, shown, what)
    active = st.session_state.get("teach active", (None, 0))
    marks(found, classes, active=active, label=what, on_mark=lambda marked: mark_clicked(collection, marked))
    if pages > 1:
        paging.turn("teach at", pages, page)
    if what in (NEXT, PREDICTED) and found:
        with st.container(horizontal=True):
            st.button("Show the next ones", type="primary", on_click=_turn, args=(shown,))
            if what == PREDICTED and name is not None:
                rest = {one["id"]: name for one in found if one["label"] is None}
                text = "All are" if len(rest) == len(found) else f"The other {len(rest)} are"
                st.button(f"{text} {_plain(name)}", disabled=not rest, on_click=store, args=(collection, rest))


def _plain(text: str) -> str:
    """``text`` where Streamlit reads Markdown: as it is."""
    return "".join("\\" + letter if letter in "\\`*_{}[]()<>#+-.!|~$:" else letter for letter in text)


def _turn(shown: Iterable[int]) -> None:
    """Forget the order, so that it is made again; what was shown comes last then."""
    st.session_state["teach seen"] = {*st.session_state.get("teach seen", ()), *shown}
    st.session_state.pop("teach order", None)


def _order(
    collection: Collection, images: Whole, labels: dict[int, str], lesson: Taught | None, what: str, name: str | None
) -> list[int]:
    """Ids to show. It stays while labels are given, so that nothing moves below the pointer."""
    cell = st.session_state.get("teach cell")
    key = (images.key, what, name, cell, lesson is None if what not in (NEXT, SELECTED) else None)
    held = st.session_state.get("teach order")
    if held is None or held[0] != key:
        held = (key, _ranked(collection, images, labels, lesson, what, name, cell))
        st.session_state["teach order"] = held
        st.session_state["teach at"] = 1
    return held[1]


def _ranked(
    collection: Collection,
    images: Whole,
    labels: dict[int, str],
    lesson: Taught | None,
    what: str,
    name: str | None,
    cell: tuple[str, str] | None,
) -> list[int]:
    seen = st.session_state.get("teach seen", set())
    if what == SELECTED:
        return [one.item.id for one in selecting.selected(collection)]
    if what == LABELLED:
        rows = images.rows(labels)
        return images.ids[
            teach_ranking.labelled(rows.tolist(), [labels[i] for i in images.ids[rows].tolist()], name)
        ].tolist()
    if what == NEXT and lesson is None:
        count = min(VARIETY, len(images.ids))
        clusters = stored_clusters(collection.folder, images.generation, images.ids, images.vectors, count)
        ids = [id_ for id_ in teach_ranking.varied(clusters) if id_ not in labels]
    elif lesson is None:
        return []
    elif what == MISREAD:
        return images.ids[teach_ranking.misread(lesson, cell_of(lesson, cell))].tolist()
    else:
        unlabelled = np.ones(len(images.ids), bool)
        unlabelled[images.rows(labels)] = False
        rows = (
            teach_ranking.least_sure(lesson, unlabelled)
            if what == NEXT
            else teach_ranking.taken_for(lesson, str(name), unlabelled)
        )
        ids = images.ids[rows].tolist()
    return [id_ for id_ in ids if id_ not in seen] + [id_ for id_ in ids if id_ in seen]


def _explained(what: str, labels: dict[int, str], lesson: Taught | None, order: list[int]) -> None:
    """One line on what is shown, or why nothing is."""
    cell = st.session_state.get("teach cell")
    if lesson is None and what in (PREDICTED, MISREAD):
        markup.notice("The probe needs labels of two classes or more. Give some under “Next”.", kind="info")
    elif what == NEXT and lesson is None:
        markup.faint("A varied choice to begin with. A click gives the chosen class, a second one takes it away.")
    elif not order:
        nothing = {
            NEXT: "Every image has a label.",
            PREDICTED: "No image without a label is taken for this class.",
            MISREAD: "Cross-validation read every labelled image rightly.",
            LABELLED: "No image has a label yet.",
        }
        checked = lesson is None or lesson.checked is not None
        markup.faint(
            nothing[what] if checked or what != MISREAD else "Two classes need two labelled images each first."
        )
    elif what == SELECTED:
        left = sum(id_ not in labels for id_ in order)
        markup.faint(f"{len(order):,} images selected, the most useful first; {left:,} without a label.")
    elif what == NEXT:
        markup.faint("Where the probe is least sure: a label here teaches most.")
    elif what == PREDICTED:
        markup.faint("Images without a label, the surest first.")
    elif what == MISREAD and cell is not None:
        markup.faint(f"{len(order):,} labelled “{cell[0]}”, read as “{cell[1]}”. A wrong label is mended by a click.")
    elif what == MISREAD:
        markup.faint(
            f"{len(order):,} labelled images that cross-validation read wrongly. A wrong label is mended by a click."
        )
    else:
        markup.faint(f"{len(order):,} images.")


def _markables(
    collection: Collection, images: Whole, labels: dict[int, str], lesson: Taught | None, ids: list[int], what: str
) -> list[Markable]:
    items = [item for id_ in ids if (item := collection.item(id_)) is not None]
    read = _read_as(images, lesson) if what == MISREAD else {}
    found = []
    for tile, item in zip(tiles.photo_tiles(collection, items, Address()), items, strict=True):
        note = ""
        if item.id in read:
            note = f"read as {read[item.id]}"
        elif lesson is not None and len(row := images.rows([item.id])):
            row_probabilities = lesson.probabilities[row[0]]
            best = int(row_probabilities.argmax())
            note = f"{lesson.probe.classes[best]} {row_probabilities[best]:.0%}"
        found.append(
            Markable(
                id=item.id,
                name=tile["name"],
                path=tile["path"],
                label=labels.get(item.id),
                note=note,
                content=content_of(tile["source"]),
                source=tile["source"],
                link="./" + tile["link"],
            )
        )
    return found


def _read_as(images: Whole, lesson: Taught | None) -> dict[int, str]:
    """Item id -> class, as cross-validation read labelled images."""
    if lesson is None or lesson.checked is None:
        return {}
    checked = lesson.checked
    ids = images.ids[lesson.rows[checked.rows]].tolist()
    return {id_: checked.classes[number] for id_, number in zip(ids, checked.predicted.tolist(), strict=True)}
