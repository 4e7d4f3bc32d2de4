"""Images in the order of their dates."""

from collections.abc import Sequence

import streamlit as st

from simsiam_retrieval.collection import Collection, Item

NEWEST, OLDEST = "newest", "oldest"


def by_date(items: Sequence[Item], sort: str) -> list[Item]:
    """``items`` sorted by the day and time they were taken (or else changed), then by path."""
    return sorted(items, key=lambda item: (item.date, str(item.path)), reverse=sort == NEWEST)


def page_by_date(collection: Collection, sort: str, limit: int, offset: int) -> list[Item]:
    """A page of all images of a collection that is not sharded."""
    ids = _ids(collection, str(collection.folder), collection.generation)
    if sort == NEWEST:
        ids = ids[::-1]
    return [item for id_ in ids[offset : offset + limit] if (item := collection.item(id_)) is not None]


@st.cache_resource(show_spinner=False, max_entries=4)
def _ids(_collection: Collection, folder: str, generation: int) -> list[int]:
    return [item.id for item in by_date(_collection.items(), OLDEST)]
