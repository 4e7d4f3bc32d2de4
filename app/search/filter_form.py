"""The filter above the photos: which images are shown and searched."""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import streamlit as st

from simsiam_retrieval.collection import Collection, Item
from simsiam_retrieval.collection.search.filters import NO_FILTER, Filter, Range
from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.images.measures import NUMBERS

from ..markup import shown
from .address import EARLIEST, LATEST, Address, count

ANY, NO_LABEL = "any", "without a label"
LOOKED_AT = 100_000  # images of a sharded collection, to find its folders and formats
MOST_FOLDERS = 500  # in the list to choose from


@st.cache_data(show_spinner=False, max_entries=8)
def _choices(_collection: Collection, place: str, generation: int) -> tuple[list[str], list[str]]:
    """Folders, the largest first and then by name, and formats of a collection."""
    images: dict[Path, int] = {}
    formats: dict[str, int] = {}
    roots = set(_collection.roots)
    for (folder, kind), number in _collection.folder_counts(LOOKED_AT).items():
        formats[kind] = formats.get(kind, 0) + number
        for parent in (folder, *folder.parents):
            images[parent] = images.get(parent, 0) + number
            if parent in roots:
                break
    largest = sorted(images, key=lambda found: (-images[found], str(found)))[:MOST_FOLDERS]
    return sorted(map(str, largest)), sorted(formats)


@st.cache_data(show_spinner=False, max_entries=8)
def _spans(_collection: Collection, folder: str, generation: int) -> dict[str, tuple[float, float]]:
    """The lowest and the highest value of each quality measure; empty where nothing was measured."""
    found = _collection.measures().values()
    values = {name: [getattr(one, name) for one in found] for name in NUMBERS} if found else {}
    return {name: (min(of), max(of)) for name, of in values.items() if min(of) < max(of)}


def read_choices(collection: Collection) -> None:
    """Read what the form offers, before the first visitor asks for it.

    Args:
        collection: The collection.
    """
    with contextlib.suppress(UserError):  # whoever comes is told
        place, generation = str(collection.folder), collection.generation
        collection.items(1)  # compares what is stored of all images with its checksum
        _choices(collection, place, generation)
        _spans(collection, place, generation)


def matching(collection: Collection, only: Filter) -> list[Item] | None:
    """Find the images that meet the conditions.

    Args:
        collection: The collection.
        only: The conditions.

    Returns:
        The images, sorted by path; None if there are no conditions.
    """
    return collection.matching(only) if only else None


def conditions(collection: Collection, address: Address, go: Callable[[Address], None]) -> None:
    """Draw the button that opens the filter and says how many conditions there are.

    Args:
        collection: The collection.
        address: What the page shows.
        go: Makes another address what the page shows.
    """
    number = count(address.only)
    with st.popover(f"Filter ({number})" if number else "Filter", icon=":material/filter_list:"):
        folders, formats = _choices(collection, str(collection.folder), collection.generation)
        labels = sorted(set(collection.labels().values()))
        only = address.only
        version = repr(only)  # other keys after Back, so that the widgets show what the address says

        def value(name: str):
            return st.session_state[f"only {name} {version}"]

        def changed() -> None:
            since, until = value("since"), value("until")
            name, label = value("name").strip(), value("label")
            chosen = Filter(
                folders=() if value("folder") == ANY else (Path(value("folder")),),
                names=(name,) if name else (),
                formats=() if value("format") == ANY else (value("format"),),
                labels=() if label == ANY else ("" if label == NO_LABEL else label,),
                since=since,
                until=None if since and until and until < since else until,
                min_side=value("side") or None,
                measures=_measures(only, version, _spans(collection, str(collection.folder), collection.generation)),
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

        chooser("Folder", "folder", folders, str(only.given_folders[0]) if only.folders else ANY)
        st.text_input(
            "File name",
            only.names[0] if only.names else "",
            placeholder="IMG_*.jpg",
            key=f"only name {version}",
            on_change=changed,
            max_chars=200,
        )
        left, right = st.columns(2)
        with left:
            chooser("Format", "format", formats, only.formats[0] if only.formats else ANY)
        with right:
            current = only.labels[0] or NO_LABEL if only.labels else ANY
            chooser("Label", "label", [NO_LABEL, *labels], current)
        left, right = st.columns(2)  # columns of their own, so that on a phone both dates follow each other
        with left:
            _day("Taken since", "since", only.since, version, changed)
        with right:
            _day("Taken until", "until", only.until, version, changed)
        st.number_input(
            "Shorter side at least (px)",
            min_value=0,
            max_value=100_000,
            step=100,
            value=min(only.min_side or 0, 100_000),
            key=f"only side {version}",
            on_change=changed,
        )
        _quality(_spans(collection, str(collection.folder), collection.generation), only, version, changed)
        if number:
            st.button("Clear the filter", on_click=go, args=(replace(address, only=NO_FILTER, page=1),))


def _quality(spans: dict[str, tuple[float, float]], only: Filter, version: str, changed: Callable[[], None]) -> None:
    """The range of a quality measure; nothing where nothing was measured."""
    if not spans:
        return
    current = only.measures[0] if only.measures else None
    known = current if current is not None and current.name in spans else None
    options = [ANY, *spans]
    st.selectbox(
        "Quality measure",
        options,
        options.index(known.name) if known else 0,
        key=f"only measure {version}",
        on_change=changed,
        format_func=lambda name: name if name == ANY else name.capitalize(),
        help="Sharpness, brightness and so on, as they were measured when the images were indexed",
    )
    if known is not None:
        low, high = spans[known.name]
        values = (low if known.low is None else known.low, high if known.high is None else known.high)
        st.slider(
            known.name.capitalize(),
            low,
            high,
            (min(max(values[0], low), high), max(min(values[1], high), low)),
            (high - low) / 200,
            format="%.3f",
            key=f"only range {version}",
            on_change=changed,
        )


def _measures(only: Filter, version: str, spans: dict[str, tuple[float, float]]) -> tuple[Range, ...]:
    """What the widgets of ``_quality`` say."""
    name = st.session_state.get(f"only measure {version}", ANY)
    if name == ANY:
        return only.measures if not spans else ()
    chosen = st.session_state.get(f"only range {version}")
    if chosen is None or not only.measures or only.measures[0].name != name:
        return (Range(name, spans[name][0]),)  # another measure: all its values at first
    low, high = chosen
    return (Range(name, low, None if high >= spans[name][1] else high),)


def _day(title: str, name: str, current: date | None, version: str, changed: Callable[[], None]) -> None:
    st.date_input(
        title,
        current,
        min_value=EARLIEST,
        max_value=LATEST,
        format="YYYY-MM-DD",
        key=f"only {name} {version}",
        on_change=changed,
    )
