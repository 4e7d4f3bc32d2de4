"""The images that somebody chose on the map: shown in a grid, labelled, listed."""

from collections import Counter

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from simsiam_retrieval.collection import Collection
from simsiam_retrieval.core.errors import UserError

from .. import markup
from ..collection_snapshot import Whole
from ..components import paging, tiles
from ..components.downloads import as_csv, download
from ..components.grid import grid
from ..components.scatter import Plot
from ..search import selection
from ..search.address import LEAVING, MOST_IMAGES, Address
from . import search_page, selecting
from .map_colours import Colouring


def show_chosen(collection: Collection, images: Whole, drawn: Plot, by: Colouring, rows: NDArray[np.int64]) -> None:
    rows = rows[np.argsort(-by.order[rows], kind="stable")]
    counts = Counter(drawn.groups[rows].tolist()).most_common()
    named = " · ".join(f"{by.legend[group]['name']} {count:,}" for group, count in counts[:6])
    more = f" · and {len(counts) - 6} more groups" if len(counts) > 6 else ""
    with st.container(horizontal=True, vertical_alignment="center"):
        markup.section(f"{len(rows):,} chosen", named + more)
        if len(rows):
            with st.popover("Label them"):
                _labelling(collection, images, rows)
            download("List as CSV", lambda: _csv(images, rows, drawn, by), "chosen.csv")
    if not len(rows):
        markup.faint("No image lies there.")
        return
    _pictures(collection, images.ids[rows].tolist(), "Chosen images")


def show_selected(collection: Collection) -> None:
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
