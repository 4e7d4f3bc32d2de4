"""The filter above the photos: which images are shown and searched."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import streamlit as st

from simsiam_retrieval.collection import Collection, Item

from ..markup import shown
from .address import EARLIEST, LATEST, Address, Only, as_date, as_number

ANY, NO_LABEL = "any", "without a label"
LOOKED_AT = 100_000  # images of a sharded collection, to find its folders and formats
MOST_FOLDERS = 500  # in the list to choose from


@st.cache_data(show_spinner=False, max_entries=8)
def _choices(_collection: Collection, folder: str, generation: int) -> tuple[list[str], list[str]]:
    """Folders, the largest first and then by name, and formats of a collection."""
    images: dict[Path, int] = {}
    formats: dict[str, int] = {}
    roots = set(_collection.roots)
    for item in _collection.sampled_items(LOOKED_AT):
        formats[item.format] = formats.get(item.format, 0) + 1
        for parent in item.path.parents:
            images[parent] = images.get(parent, 0) + 1
            if parent in roots:
                break
    largest = sorted(images, key=lambda found: (-images[found], str(found)))[:MOST_FOLDERS]
    return sorted(map(str, largest)), sorted(formats)


def matching(collection: Collection, only: Only) -> list[Item] | None:
    """The images that meet the conditions, sorted by path; None where there are no conditions."""
    if not only.count():
        return None
    return collection.matching(only.filter())


def conditions(collection: Collection, address: Address, go: Callable[[Address], None]) -> None:
    """A button that opens the filter, and says how many conditions there are."""
    count = address.only.count()
    with st.popover(f"Filter ({count})" if count else "Filter", icon=":material/filter_list:"):
        folders, formats = _choices(collection, str(collection.folder), collection.generation)
        labels = sorted(set(collection.labels().values()))
        only = address.only
        version = repr(only)  # other keys after Back, so that the widgets show what the address says

        def value(name: str):
            return st.session_state[f"only {name} {version}"]

        def changed() -> None:
            since, until, side = value("since"), value("until"), value("side")
            label = value("label")
            chosen = Only(
                folder="" if value("folder") == ANY else value("folder"),
                name=value("name").strip(),
                format="" if value("format") == ANY else value("format"),
                label=None if label == ANY else "" if label == NO_LABEL else label,
                since=since.isoformat() if since else "",
                until=until.isoformat() if until and not (since and until < since) else "",
                side=str(side) if side else "",
            )
            go(replace(address, only=chosen, page=1))

        def chooser(title: str, name: str, options: list[str], current: str) -> None:
            found = [ANY, *options, *([current] if current not in (ANY, *options) else [])]
            st.selectbox(
                title,
                found,
                found.index(current),
                key=f"only {name} {version}",
                on_change=changed,
                format_func=shown,
            )

        chooser("Folder", "folder", folders, only.folder or ANY)
        st.text_input(
            "File name",
            only.name,
            placeholder="IMG_*.jpg",
            key=f"only name {version}",
            on_change=changed,
            max_chars=200,
        )
        left, right = st.columns(2)
        with left:
            chooser("Format", "format", formats, only.format or ANY)
            _day("Taken since", "since", only.since, version, changed)
        with right:
            current = ANY if only.label is None else only.label or NO_LABEL
            chooser("Label", "label", [NO_LABEL, *labels], current)
            _day("until", "until", only.until, version, changed)
        st.number_input(
            "Shorter side at least (px)",
            min_value=0,
            max_value=100_000,
            step=100,
            value=min(as_number(only.side) or 0, 100_000),
            key=f"only side {version}",
            on_change=changed,
        )
        if count:
            st.button("Clear the filter", on_click=go, args=(replace(address, only=Only(), page=1),))


def _day(title: str, name: str, current: str, version: str, changed: Callable[[], None]) -> None:
    st.date_input(
        title,
        as_date(current),
        min_value=EARLIEST,
        max_value=LATEST,
        format="YYYY-MM-DD",
        key=f"only {name} {version}",
        on_change=changed,
    )
