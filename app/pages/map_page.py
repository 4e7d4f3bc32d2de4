"""The Map page: all images as points, lookalikes beside each other; draw round some to see them."""

import contextlib
from collections.abc import Sequence

import streamlit as st

from simsiam_retrieval.collection import Collection
from simsiam_retrieval.collection.explore import projection
from simsiam_retrieval.collection.explore.clusters import stored_clusters
from simsiam_retrieval.collection.explore.make_map import make_map_apart
from simsiam_retrieval.collection.explore.projection import Projection
from simsiam_retrieval.core.errors import UserError

from .. import background_jobs, markup, settings
from ..collection_snapshot import Whole, taught, whole
from ..components import chosen_image, tiles
from ..components.hover_card import NOTHING, Card, hover
from ..components.map_faces import map_faces
from ..components.scatter import MOST_GROUPS, Choice, Plot, chosen, plot, scatter
from ..open_collection import open_collection
from ..search.address import LEAVING, Address
from . import map_colours, search_page, selecting
from .map_chosen import show_chosen, show_selected
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
        show_chosen(collection, images, drawn, by, chosen(drawn, choice))
    elif by.key.startswith("selection"):
        show_selected(collection)
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
    with st.container(horizontal=True, vertical_alignment="bottom", gap="large"):
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
        jpeg, remark = chosen_image.item_picture(item, collection.thumbnail(id_), collection.reading)
        if jpeg:
            markup.picture(jpeg, item.path.name)
        label = collection.labels().get(id_)
        facts = [("Path", item.path), ("Size", f"{item.width} × {item.height} px")]
        markup.facts([*facts, ("Label", label)] if label else facts, item.path.name, remark)
        if st.button("Find similar", type="primary"):
            st.switch_page(_search(), query_params=Address().of_image(id_).parameters())

    opened()
