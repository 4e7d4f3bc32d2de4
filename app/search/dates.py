"""Images in the order of their dates."""

from collections.abc import Sequence

import streamlit as st

from simsiam_retrieval.collection import Collection, Item

NEWEST, OLDEST = "newest", "oldest"


def by_date(items: Sequence[Item], sort: str) -> list[Item]:
    """Sort images by the time they were taken (otherwise changed), then by path.

    Args:
        items: The images.
        sort: The order that the address asks for.

    Returns:
        The sorted images.
    """
    return sorted(items, key=lambda item: (item.date, str(item.path)), reverse=sort == NEWEST)


def page_by_date(collection: Collection, sort: str, limit: int, offset: int) -> list[Item]:
    """Return a page of all images of a collection that is not sharded.

    Args:
        collection: The collection.
        sort: The order that the address asks for.
        limit: Images on the page.
        offset: Images before the page.

    Returns:
        The images.
    """
    ids = _ids(collection, str(collection.folder), collection.generation)
    if sort == NEWEST:
        ids = ids[::-1]
    return [item for id_ in ids[offset : offset + limit] if (item := collection.item(id_)) is not None]


@st.cache_resource(show_spinner=False, max_entries=4)
def _ids(_collection: Collection, folder: str, generation: int) -> list[int]:
    return [item.id for item in by_date(_collection.items(), OLDEST)]
