"""Images that a visitor has marked on the Search page, and what can be done with them."""

import csv
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Sequence

import streamlit as st

from simsiam_retrieval.collection import Collection, Item
from simsiam_retrieval.images.page_paths import file_and_page

from .. import markup
from ..components.downloads import download
from ..components.tiles import size_text
from ..markup import shown

SELECTED = "selected"
ZIP_LIMIT = 2_000_000_000  # bytes; more would not fit into memory on a small machine
COLUMNS = ("id", "path", "width", "height", "bytes", "format", "date", "label")


def selected() -> list[int]:
    """Return the marked images.

    Returns:
        Ids, in the order in which they were marked.
    """
    return list(st.session_state.get(SELECTED, {}))


def toggle(id_: int) -> None:
    """Mark an image, or remove its mark.

    Args:
        id_: Id of the image.
    """
    marks = st.session_state.setdefault(SELECTED, {})
    if id_ in marks:
        del marks[id_]
    else:
        marks[id_] = True


def mark(ids: Iterable[int]) -> None:
    """Mark images in addition to those that are marked.

    Args:
        ids: Ids of the images.
    """
    st.session_state[SELECTED] = {**st.session_state.get(SELECTED, {}), **dict.fromkeys(ids, True)}


def clear() -> None:
    """Take all marks away."""
    st.session_state[SELECTED] = {}


def bar(collection: Collection, *, on_similar: Callable[[list[int]], None]) -> None:
    """Draw a line of actions for the marked images; nothing if none is marked.

    Args:
        collection: The collection.
        on_similar: Called with ids for a search by several images.
    """
    found = [item for id_ in selected() if (item := collection.item(id_)) is not None]
    if not found:
        return
    total = sum(item.size for item in found)
    with st.container(horizontal=True, vertical_alignment="center", key="selection"):
        markup.faint(f"{len(found)} marked, {size_text(total)}", width="content")
        st.button("Similar to these", on_click=on_similar, args=([item.id for item in found],))
        labels = collection.labels()
        download("CSV", lambda: as_csv(found, labels), "images.csv")
        download("JSON", lambda: as_json(found, labels), "images.json")
        large = total > ZIP_LIMIT
        tip = f"More than {size_text(ZIP_LIMIT)}: copy the paths instead" if large else ""
        download("ZIP", lambda: as_zip(found), "images.zip", disabled=large, tip=tip)
        with st.popover("Paths"):
            st.code("\n".join(shown(item.path) for item in found), language=None)
        st.button("Clear", on_click=clear)


def rows(items: Sequence[Item], labels: dict[int, str]) -> list[dict[str, object]]:
    """Return what the exports say about each image.

    Args:
        items: The images.
        labels: Item id -> label.

    Returns:
        A dictionary for each image.
    """
    values = (
        (
            item.id,
            str(item.path).encode(errors="replace").decode(),
            item.width,
            item.height,
            item.size,
            item.format,
            item.date.isoformat(timespec="seconds"),
            labels.get(item.id, ""),
        )
        for item in items
    )
    return [dict(zip(COLUMNS, row, strict=True)) for row in values]


def as_csv(items: Sequence[Item], labels: dict[int, str]) -> bytes:
    """Write a table with a heading.

    Args:
        items: The images.
        labels: Item id -> label.

    Returns:
        CSV, UTF-8.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows(row.values() for row in rows(items, labels))
    return text.getvalue().encode()


def as_json(items: Sequence[Item], labels: dict[int, str]) -> bytes:
    """Write a list with one object for each image.

    Args:
        items: The images.
        labels: Item id -> label.

    Returns:
        JSON, UTF-8.
    """
    return json.dumps(rows(items, labels), indent=2).encode()


def as_zip(items: Sequence[Item]) -> bytes:
    """Pack the files, numbered so that equal names do not collide. MISSING.txt names files that are gone.

    Args:
        items: The images.

    Returns:
        A ZIP file.
    """
    content = io.BytesIO()
    missing = []
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:  # pictures are compressed already
        for number, item in enumerate(items, 1):
            try:
                file = file_and_page(item.path)[0]
                archive.writestr(f"{number:04d} {shown(file.name)}", file.read_bytes())
            except OSError as error:
                missing.append(f"{shown(item.path)}: {error.strerror or error}")
        if missing:
            archive.writestr("MISSING.txt", "\n".join(missing) + "\n")
    return content.getvalue()
