"""The classes of the Teach page: naming, renaming, removing them; folder names as labels."""

from collections import Counter
from collections.abc import Iterable, Mapping

import streamlit as st

from simsiam_retrieval.collection import Collection

from .. import markup
from ..collection_snapshot import Whole
from ..components.marks import Class
from ..components.scatter import colours
from . import selecting
from .teach_labels import labels_now, store, undo

SELECTED = "Selected"  # by the button that selects what to label; listed once it was used
NAME = 80  # characters of a class's name, at most
CLASS = "class"  # in the address: a class that was named and may have no image yet
MOST_WAITING = 50


def known_classes(labels: Mapping[int, str]) -> list[Class]:
    """List the classes that labels use, and those that were named here and wait for their first image.

    Args:
        labels: Item id -> label.

    Returns:
        The classes, sorted by name.
    """
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


def class_controls(collection: Collection, images: Whole, labels: dict[int, str], classes: list[Class]) -> None:
    """Draw the controls for classes: new ones, folder names as labels, renaming and removing, undo.

    Args:
        collection: The collection.
        images: Its images.
        labels: Item id -> label.
        classes: The classes.
    """

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
        st.button("Undo", on_click=undo, args=(collection,), disabled=not undos)


def _show_selected() -> None:
    st.session_state["teach list"] = SELECTED
    st.session_state["teach cell"] = None
    st.session_state.pop("teach order", None)


def _from_folders(collection: Collection, images: Whole, labels: dict[int, str]) -> None:
    left = Counter(images.folder_counts)  # this runs at each click: no loop over all images
    left.subtract(images.folder_names[row] for row in images.rows(labels).tolist())
    del left[""]
    count, names = left.total(), sum(number > 0 for number in left.values())
    markup.faint(
        f"Gives the {count:,} images without a label the name of the folder they lie in ({names:,} names)."
        if count
        else "Every image has a label."
    )

    def label() -> None:
        pairs = zip(images.ids.tolist(), images.folder_names, strict=True)
        store(collection, {id_: name for id_, name in pairs if id_ not in labels and name})

    st.button("Label them", key="teach folders", disabled=not count, on_click=label)


def _edit(collection: Collection, labels: dict[int, str], classes: list[Class]) -> None:
    name = st.selectbox("Class", [one["name"] for one in classes])
    new = st.text_input("New name", max_chars=NAME, help="The name of another class makes the two one.").strip()
    members = [id_ for id_, label in labels.items() if label == name]

    def change(to: str | None) -> None:
        now = labels_now(collection)  # another tab may have given some of them another label
        store(collection, {id_: to for id_ in members if now.get(id_) == name})
        waiting = [one for one in _waiting() if one != name]
        _wait_for([*waiting, to] if to else waiting)

    with st.container(horizontal=True):
        st.button("Rename", disabled=not new or new == name, on_click=change, args=(new,))
        st.button(f"Remove, with its {len(members):,} labels", on_click=change, args=(None,))
