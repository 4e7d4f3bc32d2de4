"""The Teach page: mark images as belonging to classes; a probe learns from them and says what to mark next.

Over 300 lines, because its classes, lists and results share the keys of one session.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
import streamlit as st

from simsiam_retrieval.collection import Collection
from simsiam_retrieval.collection.explore.clusters import stored_clusters
from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.metrics.intervals import wilson

from .. import markup, settings
from ..collection_snapshot import Taught, Whole, taught, whole
from ..components import paging, tiles
from ..components.confusion_pictures import Matrix, confusion
from ..components.downloads import as_csv, download
from ..components.marks import Class, Mark, Markable, content_of, marks
from ..components.scatter import colours
from ..open_collection import open_collection
from ..search.address import Address
from . import search_page, selecting, teach_ranking

NEXT, PREDICTED, MISREAD, LABELLED = "Next", "Predicted", "Likely mistakes", "Labelled"
SELECTED = "Selected"  # by the button that selects what to label; listed once it was used
SHOWN = 30  # images at a time
VARIETY = 30  # clusters that the first images come from
NAME = 80  # characters of a class's name, at most
UNDOS = 50
CLASS = "class"  # in the address: a class that was named and may have no image yet
MOST_WAITING = 50
MATRIX = 16  # classes that the confusion matrix shows, at most
FACES = 80  # pictures in it, at most


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
        classes = _classes(labels)
        left, right = st.columns([3, 2], gap="large")
        with left:
            _marking(collection, images, labels, classes, lesson)
        with right:
            _results(collection, images, labels, lesson)
    except UserError as error:
        markup.notice(str(error))


def _begin(images: Whole) -> None:
    """Forget what was remembered of another collection: its ids mean other images here."""
    if st.session_state.get("teach of") != images.key[:-1]:
        for name in ("teach undo", "teach seen", "teach cell", "teach order", "teach at"):
            st.session_state.pop(name, None)
        st.session_state["teach of"] = images.key[:-1]


# -- classes


def _classes(labels: Mapping[int, str]) -> list[Class]:
    """Those that labels use, and those that were named here and wait for their first image."""
    counts = Counter(labels.values())
    names = sorted({*counts, *_waiting()})
    return [Class(name=n, colour=c, count=counts[n]) for n, c in zip(names, colours(len(names)), strict=True)]


def _waiting() -> list[str]:
    """Classes that were named here and may have no image yet; the address has them, so that they survive a reload."""
    if "teach classes" not in st.session_state:
        given = [name.strip()[:NAME] for name in st.query_params.get_all(CLASS)[:MOST_WAITING]]
        st.session_state["teach classes"] = [name for name in given if name]
    return st.session_state["teach classes"]


def _wait_for(names: Iterable[str]) -> None:
    kept = list(dict.fromkeys(names))[:MOST_WAITING]
    st.session_state["teach classes"] = kept
    st.query_params[CLASS] = kept


def _activate(name: str) -> None:
    _, said = st.session_state.get("teach active", (None, 0))
    st.session_state["teach active"] = (name, said + 1)


def _class_controls(collection: Collection, images: Whole, labels: dict[int, str], classes: list[Class]) -> None:
    def add() -> None:
        name = st.session_state["teach new"].strip()
        st.session_state["teach new"] = ""
        if name:
            _wait_for([*_waiting(), name])
            _activate(name)

    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.text_input(
            "New class", key="teach new", max_chars=NAME, placeholder="cat, beach, blurred …", on_change=add, width=240
        )
        st.button("Add", on_click=add)
        with st.popover("Folder names as labels"):
            _from_folders(collection, images, labels)
        if classes:
            with st.popover("Edit classes"):
                _edit(collection, labels, classes)
        selecting.control(collection, len(images.ids) - len(images.rows(labels)), _show_selected)
        undos = st.session_state.get("teach undo", [])
        st.button("Undo", on_click=_undo, args=(collection,), disabled=not undos)


def _show_selected() -> None:
    st.session_state["teach list"] = SELECTED
    st.session_state["teach cell"] = None
    st.session_state.pop("teach order", None)


def _from_folders(collection: Collection, images: Whole, labels: dict[int, str]) -> None:
    pairs = zip(images.ids.tolist(), images.paths, strict=True)
    found = {id_: path.parent.name for id_, path in pairs if id_ not in labels and path.parent.name}
    names = len(set(found.values()))
    markup.faint(
        f"Gives the {len(found):,} images without a label the name of the folder they lie in ({names:,} names)."
        if found
        else "Every image has a label."
    )
    st.button("Label them", key="teach folders", disabled=not found, on_click=_store, args=(collection, found))


def _edit(collection: Collection, labels: dict[int, str], classes: list[Class]) -> None:
    name = st.selectbox("Class", [one["name"] for one in classes])
    new = st.text_input("New name", max_chars=NAME, help="The name of another class makes the two one.").strip()
    members = [id_ for id_, label in labels.items() if label == name]

    def change(to: str | None) -> None:
        now = _labels_now(collection)  # another tab may have given some of them another label
        _store(collection, {id_: to for id_ in members if now.get(id_) == name})
        waiting = [one for one in _waiting() if one != name]
        _wait_for([*waiting, to] if to else waiting)

    with st.container(horizontal=True):
        st.button("Rename", disabled=not new or new == name, on_click=change, args=(new,))
        st.button(f"Remove, with its {len(members):,} labels", on_click=change, args=(None,))


# -- labels


def _store(collection: Collection, wanted: Mapping[int, str | None]) -> None:
    """Label images, and remember how to undo it. What cannot be stored is told on the page."""
    try:
        before = collection.labels()
        known = {id_: label for id_, label in wanted.items() if before.get(id_) != label and collection.item(id_)}
        if not known:
            return
        passed_over = collection.set_labels(known)
    except UserError as error:
        st.session_state["teach refused"] = str(error)
        return
    if passed_over:
        st.session_state["teach refused"] = markup.not_labelled(len(passed_over))
    undo = {id_: (before.get(id_), label) for id_, label in known.items()}
    st.session_state["teach undo"] = [*st.session_state.get("teach undo", []), undo][-UNDOS:]


def _mark(collection: Collection, marked: Mapping[int, Mark]) -> None:
    """Label the images that were clicked, where they are still those that the page showed under these ids."""
    try:
        thumbnails = {id_: collection.thumbnail(id_) for id_ in marked}
    except UserError as error:
        st.session_state["teach refused"] = str(error)
        return
    same = {id_ for id_, mark in marked.items() if content_of(tiles.source_of(thumbnails[id_])) == mark.content}
    _store(collection, {id_: mark.label for id_, mark in marked.items() if id_ in same})
    if len(same) < len(marked):
        st.session_state["teach refused"] = "The page showed images of another collection. Click again."


def _undo(collection: Collection) -> None:
    """Take the last change back, but for labels that another tab has changed since."""
    stack = st.session_state["teach undo"]
    if stack:
        labels = _labels_now(collection)
        last = {id_: before for id_, (before, given) in stack[-1].items() if labels.get(id_) == given}
        _store(collection, last)
        if len(last) < len(stack[-1]):
            count = len(stack[-1]) - len(last)
            st.session_state["teach refused"] = f"{count} labels were changed elsewhere meanwhile and stay as they are."
        st.session_state["teach undo"] = stack[:-1]


def _labels_now(collection: Collection) -> dict[int, str]:
    """The labels as they are; none where they cannot be read, which storing labels will say."""
    try:
        return collection.labels()
    except UserError:
        return {}


# -- marking


def _marking(
    collection: Collection, images: Whole, labels: dict[int, str], classes: list[Class], lesson: Taught | None
) -> None:
    _class_controls(collection, images, labels, classes)
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
    marks(found, classes, active=active, label=what, on_mark=lambda marked: _mark(collection, marked))
    if pages > 1:
        paging.turn("teach at", pages, page)
    if what in (NEXT, PREDICTED) and found:
        with st.container(horizontal=True):
            st.button("Show the next ones", type="primary", on_click=_turn, args=(shown,))
            if what == PREDICTED and name is not None:
                rest = {one["id"]: name for one in found if one["label"] is None}
                text = "All are" if len(rest) == len(found) else f"The other {len(rest)} are"
                st.button(f"{text} {_plain(name)}", disabled=not rest, on_click=_store, args=(collection, rest))


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
        return images.ids[teach_ranking.misread(lesson, _cell(lesson, cell))].tolist()
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


def _cell(lesson: Taught, cell: tuple[str, str] | None) -> tuple[int, int] | None:
    """The chosen cell of the confusion matrix, by the classes' numbers; None where one of them is gone."""
    checked = lesson.checked
    if checked is None or cell is None or not set(cell) <= set(checked.classes):
        return None
    return checked.classes.index(cell[0]), checked.classes.index(cell[1])


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


# -- what was learnt


def _results(collection: Collection, images: Whole, labels: dict[int, str], lesson: Taught | None) -> None:
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
        f"{checked.folds}-fold cross-validation with {n:,}{some} labelled images. The baseline always says the "
        "commonest class. Both speak of images like those labelled; the ones that the probe asked for are hard."
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
    chosen = _cell(lesson, st.session_state.get("teach cell"))
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


# -- to take away


def _exports(collection: Collection, images: Whole, labels: dict[int, str], lesson: Taught | None) -> None:
    markup.section("To take away")
    with st.container(horizontal=True):
        download("Labels as CSV", lambda: labels_csv(images, labels), "labels.csv", len(labels))
        if lesson is not None:
            download(
                "Predictions as CSV",
                lambda: predictions_csv(images, labels, lesson),
                "predictions.csv",
                len(images.ids),
            )
            download("Probe as ONNX", lambda: lesson.probe.as_onnx(collection.encoder_identity), "probe.onnx")
    if lesson is not None:
        markup.faint(f"The probe takes vectors of this collection's encoder ({collection.encoder_identity}).")


def labels_csv(images: Whole, labels: Mapping[int, str]) -> bytes:
    """Path and label of labelled images."""
    pairs = zip(images.ids.tolist(), images.paths, strict=True)
    return as_csv(("path", "label"), ((path, labels[id_]) for id_, path in pairs if id_ in labels))


def predictions_csv(images: Whole, labels: Mapping[int, str], lesson: Taught) -> bytes:
    """Path, label (or nothing), predicted class and its probability, of all images."""
    best = lesson.probabilities.max(axis=1).tolist()
    columns = zip(images.ids.tolist(), images.paths, lesson.predicted.tolist(), best, strict=True)
    rows = ((p, labels.get(i, ""), lesson.probe.classes[number], f"{sure:.4f}") for i, p, number, sure in columns)
    return as_csv(("path", "label", "predicted", "probability"), rows)
