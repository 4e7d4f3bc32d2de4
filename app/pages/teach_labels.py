"""Storing the labels that the Teach page gives, and taking them back."""

from collections.abc import Mapping

import streamlit as st

from simsiam_retrieval.collection import Collection
from simsiam_retrieval.core.errors import UserError

from .. import markup
from ..components import tiles
from ..components.marks import Mark, content_of

UNDOS = 50


def store(collection: Collection, wanted: Mapping[int, str | None]) -> None:
    """Label images, and remember how to undo it. Errors are shown on the page.

    Args:
        collection: The collection.
        wanted: Item id -> label; None removes the label.
    """
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


def mark_clicked(collection: Collection, marked: Mapping[int, Mark]) -> None:
    """Label the images that were clicked, if they are still those that the page showed under these ids.

    Args:
        collection: The collection.
        marked: Item id -> click.
    """
    try:
        thumbnails = {id_: collection.thumbnail(id_) for id_ in marked}
    except UserError as error:
        st.session_state["teach refused"] = str(error)
        return
    same = {id_ for id_, mark in marked.items() if content_of(tiles.source_of(thumbnails[id_])) == mark.content}
    store(collection, {id_: mark.label for id_, mark in marked.items() if id_ in same})
    if len(same) < len(marked):
        st.session_state["teach refused"] = "The page showed images of another collection. Click again."


def undo(collection: Collection) -> None:
    """Take the last change back, except labels that another tab has changed since.

    Args:
        collection: The collection.
    """
    stack = st.session_state["teach undo"]
    if stack:
        labels = labels_now(collection)
        last = {id_: before for id_, (before, given) in stack[-1].items() if labels.get(id_) == given}
        store(collection, last)
        if len(last) < len(stack[-1]):
            count = len(stack[-1]) - len(last)
            st.session_state["teach refused"] = f"{count} labels were changed elsewhere meanwhile and stay as they are."
        st.session_state["teach undo"] = stack[:-1]


def labels_now(collection: Collection) -> dict[int, str]:
    """Read the labels.

    Args:
        collection: The collection.

    Returns:
        Item id -> label; empty if they cannot be read, which storing labels will say.
    """
    try:
        return collection.labels()
    except UserError:
        return {}
