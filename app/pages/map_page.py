"""The Map page: all images as points, lookalikes beside each other; draw round some to see them.

Over 300 lines, because the map, its colours and what is chosen on it share the keys of one session.
"""

import contextlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from simsiam_retrieval.collection import Collection
from simsiam_retrieval.collection.explore import projection
from simsiam_retrieval.collection.explore.clusters import stored_clusters
from simsiam_retrieval.collection.explore.make_map import make_map_apart
from simsiam_retrieval.collection.explore.projection import Projection
from simsiam_retrieval.core.errors import UserError

from .. import background_jobs, markup, settings
from ..collection_snapshot import Whole, taught, whole
from ..components import chosen_image as picture
from ..components import paging, tiles
from ..components.downloads import as_csv, download
from ..components.grid import grid
from ..components.hover_card import NOTHING, Card, hover
from ..components.map_faces import map_faces
from ..components.scatter import MOST_GROUPS, Choice, Plot, chosen, plot, scatter
from ..open_collection import open_collection
from ..search import selection
from ..search.address import LEAVING, MOST_IMAGES, Address
from . import map_colours, search_page, selecting
from .map_colours import Colouring

FOLDER, LABEL, CLUSTER, PREDICTION, SELECTION = "Folder", "Label", "Cluster", "Prediction", "Selection"
CLUSTERS = 12  # at first
POLL = 1.0  # seconds between two looks at the progress
CHOICE, PICKED = "map choice", "map picked"  # in the session


def show() -> None:
    """Draw the page."""
    if (address := st.session_state.get(LEAVING)) is not None:  # until the Search page has it
        st.switch_page(_search(), query_params=address.parameters())
    try:
        collection = open_collection(settings.collection())
        count = len(collection)
        markup.title("Map", f"{count:,} image{'' if count == 1 else 's'}; those that look alike lie beside each other")
        if not count:
            markup.notice(
                "This collection holds no images yet. Index a folder of photos:", search_page.INDEX, kind="info"
            )
            return
        images = whole(collection)
        found = _layout(collection, images)
        if found is None:
            _offer(collection, images)
        else:
            _map(collection, images, found)
    except UserError as error:
        markup.notice(str(error))


def _search():
    return st.Page(search_page.show, title="Search", url_path="search", default=True)


# -- making the map


def _layout(collection: Collection, images: Whole) -> Projection | None:
    files = []
    for file in sorted(collection.folder.glob("map-*.npz")):
        with contextlib.suppress(OSError):  # another one has just taken its place
            files.append((file.name, file.stat().st_mtime_ns))
    return _placed(collection, images, images.key, tuple(files)) if files else None


@st.cache_resource(show_spinner=False, max_entries=2)
def _placed(_collection: Collection, _images: Whole, key: tuple, files: tuple) -> Projection | None:
    stored = projection.load(_collection.folder, _collection.encoder_identity)
    return None if stored is None else projection.placed(stored, _images.ids, _images.vectors)


def _make(collection: Collection) -> None:
    """Start to work the map out, for all visitors."""
    background_jobs.start(
        ("map", collection.folder), lambda on_progress: make_map_apart(collection.folder, on_progress)
    )


def _offer(collection: Collection, images: Whole) -> None:
    job = background_jobs.job(("map", collection.folder))
    if job is not None and job.running:
        _progress(collection)
        return
    if job is not None and job.error:
        markup.notice(job.error)
    if not projection.available():
        markup.notice("Maps need openTSNE, which is not installed:", projection.INSTALL)
        return
    text = f"There is no map of this collection yet. It is made once and then kept; for {len(images.ids):,} images that"
    markup.notice(f"{text} takes {_duration(len(images.ids))}.", kind="info")
    st.button("Make the map", type="primary", on_click=_make, args=(collection,))


def _duration(count: int) -> str:
    """How long a map takes on two cores, roughly."""
    seconds = 1.2e-8 * count**2 + 1e-3 * count
    if seconds < 20:
        return "a few seconds"
    return "less than a minute" if seconds < 50 else f"about {max(2, round(seconds / 60))} minutes"


@st.fragment(run_every=POLL)
def _progress(collection: Collection) -> None:
    job = background_jobs.job(("map", collection.folder))
    if job is None or not job.running:
        st.rerun()
    else:
        st.progress(min(1.0, job.done), text=f"Making the map: {job.done:.0%}")
        st.button("Stop", on_click=job.stop)


# -- showing it


def _map(collection: Collection, images: Whole, found: Projection) -> None:
    job = background_jobs.job(("map", collection.folder))
    if job is not None and job.running:
        _progress(collection)
    elif found.placed:
        _newcomers(collection, found.placed)
    by = _colouring(collection, images)
    if by is None:
        return
    drawn = _plot(found, by, images.key, hash(found.points.tobytes()), by.key)
    version = drawn.payload["version"]

    def choose(choice: Choice | None) -> None:
        st.session_state[CHOICE] = (version, choice)
        st.session_state["map at"] = 1

    def pick(id_: int) -> None:
        st.session_state[PICKED] = id_

    scatter(drawn, on_choice=choose, on_pick=pick)
    hover(lambda id_: _card(collection, id_))
    map_faces(lambda ids: _faces(collection, ids))
    held, choice = st.session_state.get(CHOICE, (None, None))
    if choice is not None and held == version and (choice.area is not None or choice.colouring == by.key):
        _chosen(collection, images, drawn, by, chosen(drawn, choice))
    elif by.key.startswith("selection"):
        _selected(collection)
    else:  # nothing, or what was chosen on another map or by other colours
        markup.faint(
            "Drag a line round points to see their images. Rest on a point for its picture, click it for more. "
            "Ctrl and the wheel zoom: near, pictures take the place of points."
        )
    if (id_ := st.session_state.pop(PICKED, None)) is not None:
        _picture(collection, id_)


def _newcomers(collection: Collection, count: int) -> None:
    came = "1 image came" if count == 1 else f"{count:,} images came"
    lies = "It lies" if count == 1 else "They lie"
    with st.container(horizontal=True, vertical_alignment="center"):
        markup.notice(f"{came} after this map was made. {lies} beside the most similar images.", kind="info")
        if projection.available():
            st.button("Make the map again", on_click=_make, args=(collection,))


def _card(collection: Collection, id_: int) -> Card:
    item = collection.item(id_)
    if item is None:
        return NOTHING
    thumbnail = collection.thumbnail(id_)
    return Card(id=id_, name=markup.shown(item.path.name), source=markup.jpeg_address(thumbnail) if thumbnail else "")


def _faces(collection: Collection, ids: Sequence[int]) -> dict[int, str]:
    """Addresses of small pictures."""
    found = {id_: collection.thumbnail(id_) for id_ in ids}
    return {id_: markup.jpeg_address(tiles.small(jpeg)) for id_, jpeg in found.items() if jpeg}


def _show_selected() -> None:
    st.session_state["map colour"] = SELECTION
    st.session_state.pop(CHOICE, None)
    st.session_state["map at"] = 1


def _colouring(collection: Collection, images: Whole) -> Colouring | None:
    """The control that says what colours mean, and the colours; None where there is nothing to show yet."""
    with st.container(horizontal=True, vertical_alignment="top", gap="large"):
        found = selecting.selected(collection)
        if not found and st.session_state.get("map colour") == SELECTION:
            st.session_state["map colour"] = FOLDER
        ways = (FOLDER, LABEL, CLUSTER, PREDICTION, *((SELECTION,) if found else ()))
        what = st.segmented_control("Colour by", ways, default=FOLDER, required=True, key="map colour")
        most = min(MOST_GROUPS, len(images.ids))
        clusters = min(CLUSTERS, most)
        if what == CLUSTER and most > 2:
            clusters = st.slider("Number of clusters", 2, most, clusters, key="map clusters", width=320)
        labels = collection.labels()
        selecting.control(collection, len(images.ids) - len(images.rows(labels)), _show_selected)
    if what == SELECTION:
        return map_colours.by_selection(images, [one.item.id for one in found])
    if what == FOLDER:
        return _folders(images, images.key)
    if what == CLUSTER:
        return _clusters(collection, images, images.key, clusters)
    if what == LABEL:
        if not labels:
            markup.notice(
                "No image has a label yet. Give some on the Teach page, or label what you choose here.", kind="info"
            )
        return map_colours.by_label(images, labels)
    probe = taught(images, labels)
    if probe is None:
        markup.notice("Predictions need labels of two classes or more; give some on the Teach page.", kind="info")
        return map_colours.by_label(images, labels)
    return map_colours.by_prediction(images, labels, probe)


@st.cache_resource(show_spinner=False, max_entries=2)
def _folders(_images: Whole, key: tuple) -> Colouring:
    return map_colours.by_folder(_images)


@st.cache_resource(show_spinner="Finding clusters …", max_entries=4)
def _clusters(_collection: Collection, _images: Whole, key: tuple, count: int) -> Colouring:
    found = stored_clusters(_collection.folder, _images.generation, _images.ids, _images.vectors, count)
    return map_colours.by_cluster(_collection, found)


@st.cache_resource(show_spinner=False, max_entries=8)
def _plot(_found: Projection, _by: Colouring, key: tuple, places: int, colours: str) -> Plot:
    count = len(_found.ids)
    label = f"Map of {count:,} images. Arrow keys move, plus and minus zoom, Enter chooses what is in view."
    return plot(_found.ids, _found.points, _by.groups, _by.legend, colours, label)


def _picture(collection: Collection, id_: int) -> None:
    """The image of a point in large."""
    item = collection.item(id_)
    if item is None:
        return

    @st.dialog("Image", width="medium")
    def opened() -> None:
        jpeg, remark = picture.item_picture(item, collection.thumbnail(id_), collection.reading)
        if jpeg:
            markup.picture(jpeg, item.path.name)
        label = collection.labels().get(id_)
        facts = [("Path", item.path), ("Size", f"{item.width} × {item.height} px")]
        markup.facts([*facts, ("Label", label)] if label else facts, item.path.name, remark)
        if st.button("Find similar", type="primary"):
            st.switch_page(_search(), query_params=Address().of_image(id_).parameters())

    opened()


# -- what was chosen


def _chosen(collection: Collection, images: Whole, drawn: Plot, by: Colouring, rows: NDArray[np.int64]) -> None:
    rows = rows[np.argsort(-by.order[rows], kind="stable")]
    counts = Counter(drawn.groups[rows].tolist()).most_common()
    named = " · ".join(f"{by.legend[group]['name']} {count:,}" for group, count in counts[:6])
    more = f" · and {len(counts) - 6} more groups" if len(counts) > 6 else ""
    with st.container(horizontal=True, vertical_alignment="center"):
        markup.section(f"{len(rows):,} chosen", named + more)
        if len(rows):
            with st.popover("Label them"):
                _labelling(collection, images, rows)
            download("List as CSV", lambda: _csv(images, rows, drawn, by), "chosen.csv", len(rows))
    if not len(rows):
        markup.faint("No image lies there.")
        return
    _pictures(collection, images.ids[rows].tolist(), "Chosen images")


def _selected(collection: Collection) -> None:
    """What the button selected, to label or to take away."""
    found = selecting.selected(collection)
    with st.container(horizontal=True, vertical_alignment="center"):
        markup.section(f"{len(found):,} selected to label", "The most useful first", width="content")
        if st.button("Label them here", type="primary"):
            st.session_state["teach list"] = "Selected"
            st.session_state.pop("teach order", None)
            from . import teach_page

            st.switch_page(st.Page(teach_page.show, title="Teach", url_path="teach"))
        selecting.downloads(collection, found)
        st.button("Forget the selection", on_click=selecting.forget)
    _pictures(collection, [one.item.id for one in found], "Selected images")


def _pictures(collection: Collection, every: list[int], label: str) -> None:
    """A page of images."""
    pages = tiles.page_count(len(every))
    page = min(st.session_state.get("map at", 1), pages)
    ids = every[(page - 1) * tiles.PAGE : page * tiles.PAGE]
    items = [item for id_ in ids if (item := collection.item(id_)) is not None]
    found = tiles.photo_tiles(collection, items, Address())
    for tile in found:
        tile["link"] = "./" + tile["link"]  # the Search page, seen from here

    def leave(id_: int) -> None:
        st.session_state[LEAVING] = Address().of_image(id_)

    def similar(ids: list[int]) -> None:
        st.session_state[LEAVING] = Address(more=tuple(ids)[:MOST_IMAGES])

    selection.bar(collection, on_similar=similar)
    grid(
        found,
        label=label,
        view="map",
        marked=selection.selected(),
        refining=False,
        on_pick=leave,
        on_mark=selection.toggle,
        on_more=leave,
        on_less=leave,
        on_paste=lambda picture: None,  # photos are given on the Search page
    )
    search_page.show_large(collection)
    if pages > 1:
        paging.turn("map at", pages, page)


def _labelling(collection: Collection, images: Whole, rows: NDArray[np.int64]) -> None:
    classes = sorted(set(collection.labels().values()))
    name = st.selectbox(
        "Class", classes, index=None, accept_new_options=True, placeholder="Choose one, or type a new one"
    )

    def label() -> None:
        try:
            passed_over = collection.set_labels(dict.fromkeys(images.ids[rows].tolist(), name))
            if passed_over:
                st.session_state["map refused"] = markup.not_labelled(len(passed_over))
        except UserError as error:
            st.session_state["map refused"] = str(error)

    plural = "image" if len(rows) == 1 else "images"
    st.button(f"Label {len(rows):,} {plural}", type="primary", disabled=not (name or "").strip(), on_click=label)
    if (refused := st.session_state.pop("map refused", None)) is not None:
        markup.notice(refused)


def _csv(images: Whole, rows: NDArray[np.int64], drawn: Plot, by: Colouring) -> bytes:
    groups = drawn.groups[rows].tolist()
    pairs = zip(rows.tolist(), groups, strict=True)
    return as_csv(("path", "group"), ((images.paths[row], by.legend[group]["name"]) for row, group in pairs))
