"""What a search of the Search page shows: what is searched for, and the images that look like it."""

from collections.abc import Callable
from dataclasses import replace

import streamlit as st

from simsiam_retrieval.collection import Collection, Hit, Item
from simsiam_retrieval.collection.search.stacks import stacks_of

from .. import markup
from ..components import chosen_image, tiles
from ..components.chips import Chip, chips
from ..components.part import part
from ..components.score_spread import spread
from ..search import uploads
from ..search.address import MOST_PAGES, RESULTS, Address, Box
from ..search.dates import NEWEST
from .search_query import Query, query_of

OPENED = "opened"  # in the session: first images of stacks that are shown one by one
Go = Callable[[Address], None]
DrawGrid = Callable[[list[tiles.Tile], str, str, Address], None]


def show(collection: Collection, address: Address, go: Go, draw_grid: DrawGrid) -> None:
    """Draw the search that an address asks for.

    Args:
        collection: The collection.
        address: The address.
        go: Makes another address what the page shows.
        draw_grid: Draws tiles.
    """
    query = query_of(collection, address)
    if query is None:
        draw_grid([], "No images", "nothing", address)  # the page listens for a pasted picture
        return
    _about(collection, query, address, go)
    _results(collection, query, address, go, draw_grid)


# -- what is searched for


def _about(collection: Collection, query: Query, address: Address, go: Go) -> None:
    """The chosen image or photo in large, what is known of it, and what else is asked for."""
    first = query.chosen or query.like[0]
    if isinstance(first, Item):
        jpeg, remark = chosen_image.item_picture(first, collection.thumbnail(first.id), collection.reading)
        name = markup.shown(first.path.name)
        facts: list[tuple[str, object]] = [
            ("Path", first.path),
            ("Size", f"{first.width} × {first.height} px"),
            ("File", f"{tiles.size_text(first.size)}, {first.format}"),
            ("Taken" if first.taken else "Changed", f"{first.date:%Y-%m-%d %H:%M}"),
        ]
        label = collection.labels().get(first.id)
        if label:
            facts.append(("Label", label))
    else:
        photo, jpeg, pixels = query.photos[0]
        name = photo.name
        facts = [("Size", pixels), ("File", tiles.size_text(len(photo.content)))]
        remark = "A photo of yours; it is not added to the collection."
    with st.container(key="about"):
        left, right = st.columns([2, 3], gap="large", vertical_alignment="center")
        with left:
            if jpeg and collection.has_regions and min(query.size):
                part(jpeg, name, query.size, address.boxes, on_boxes=_on_boxes(address, go))
            elif jpeg:
                markup.picture(jpeg, name)
        with right:
            markup.section(name)
            _refinement(collection, query, address, go)
            markup.fold("Details", "details")
            with st.container(key="fold details"):
                markup.facts([(what, str(value)) for what, value in facts], below=remark)
                if not address.by_region:  # it draws scores of whole images
                    spread(collection, query.vector, collection.noise_level_of(query.vector), address.cut / 100)


def _on_boxes(address: Address, go: Go) -> Callable[[tuple[Box, ...]], None]:
    def searched(boxes: tuple[Box, ...]) -> None:
        go(replace(Address.read(st.query_params), boxes=boxes, page=1))

    return searched


def _refinement(collection: Collection, query: Query, address: Address, go: Go) -> None:
    """What was given or added besides the first; a click takes an image of the collection away."""

    def given(photo: uploads.Photo, jpeg: bytes) -> Chip:
        return Chip(id=None, name=markup.shown(photo.name), kind="given", source=markup.jpeg_address(tiles.small(jpeg)))

    def added(item: Item, kind: str) -> Chip:
        jpeg = collection.thumbnail(item.id)
        source = markup.jpeg_address(tiles.small(jpeg)) if jpeg else ""
        return Chip(id=item.id, name=markup.shown(item.path.name), kind=kind, source=source)

    def out(id_: int) -> None:
        # the address that is open now: after the browser's Back it may not be the one that this was drawn for
        go(Address.read(st.query_params).without(id_))

    rows = [
        ("Together with", [given(photo, jpeg) for photo, jpeg, _ in query.photos[1:]]),
        ("More like", [added(one, "more") for one in query.like[1:] if isinstance(one, Item)]),
        ("Less like", [added(one, "less") for one in query.unlike]),
    ]
    chips(rows, on_out=out)


# -- results


def toggle_stack(id_: int) -> None:
    """Show the near-duplicates of an image one by one, or hide them again.

    Args:
        id_: Id of the first image of the stack.
    """
    st.session_state[OPENED] = st.session_state.get(OPENED, frozenset()) ^ {id_}


def _results(collection: Collection, query: Query, address: Address, go: Go, draw_grid: DrawGrid) -> None:
    page = min(max(address.page, 1), MOST_PAGES)
    hits, stacks = _found(collection, query, address, page * address.results + 1)
    level = collection.region_noise_level_of if address.by_region else collection.noise_level_of
    noise = level(query.vector)
    more = len(stacks) > page * address.results
    start = (page - 1) * address.results
    on_page = stacks[start : start + address.results]
    if address.sort:
        on_page = sorted(on_page, key=lambda stack: stack[0].item.date, reverse=address.sort == NEWEST)
    with st.container(key="results"):
        heading = f"{len(on_page)} most similar" if page == 1 else f"From {start + 1} to {start + len(on_page)}"
        _bar(address, heading, noise, go, regions=collection.has_regions)
        if not hits:
            if address.only:
                markup.notice("No other image meets the conditions of the filter. Take one of them away.", kind="info")
            else:
                text = "There is no other image in this collection yet. Index more photos:"
                markup.notice(text, "python -m simsiam_retrieval.index FOLDER", kind="info")
        elif not on_page:
            best = f"the most similar one has {hits[0].score:.3f}"
            markup.notice(f"Nothing reaches the cut-off of {address.cut / 100:.2f}; {best}. Lower it.", kind="info")
        elif page == 1 and not any(stack[0].above_noise is not False for stack in on_page):
            markup.notice(
                f"All of these may be chance: none is more alike than {noise or 0:.3f}, which one random pair of this "
                "collection in a thousand exceeds. They are the nearest there are.",
                kind="info",
            )
        found = tiles.hit_tiles(collection, on_page, address, st.session_state.get(OPENED, frozenset()))
        draw_grid(found, "Most similar images", f"{_name(address)} page {page}", address)
        turn_pages(min(MOST_PAGES, page + more), page, address, go)


def _found(collection: Collection, query: Query, address: Address, wanted: int) -> tuple[list[Hit], list[list[Hit]]]:
    """All hits, and the stacks of those that reach the cut-off: ``wanted`` of them, if there are so many."""
    k = wanted if address.copies else 2 * wanted
    while True:
        hits = collection.search_with(query.like, address.search_options(k + 1, query.unlike))
        hits = [hit for hit in hits if query.chosen is None or hit.item.id != query.chosen.id][:k]
        reaching = [hit for hit in hits if hit.score >= address.cut / 100]
        stacks = [[hit] for hit in reaching] if address.copies else stacks_of(collection, reaching)
        if len(stacks) >= wanted or len(reaching) < k or k > 16 * wanted:  # a library of copies alone has an end, too
            return hits, stacks
        k *= 4


def turn_pages(pages: int, page: int, address: Address, go: Go) -> None:
    """Draw the control that turns pages, if there are several.

    Args:
        pages: Number of pages.
        page: The current page.
        address: What the page shows.
        go: Makes another address what the page shows.
    """
    if pages < 2:
        return
    key = f"page {page} of {pages}"  # a new key for each page, so that Back moves the control, too

    def turned() -> None:
        go(replace(address, page=st.session_state[key]))

    st.pagination(pages, default=page, key=key, on_change=turned, width="stretch")


def _name(address: Address) -> str:
    """What is shown, to know when it changes."""
    photos = " ".join(f"{photo.name} {len(photo.content)}" for photo in uploads.photos()) if address.upload else ""
    return f"{replace(address, page=1)} {photos}"


def _bar(address: Address, heading: str, noise: float | None, go: Go, *, regions: bool) -> None:
    """The line above results: what they are, how many, and which are left out."""

    def chosen() -> None:
        go(replace(address, results=st.session_state[count], page=1))

    def unfolded() -> None:
        go(replace(address, copies=not st.session_state[each], page=1))

    def moved() -> None:
        go(replace(address, cut=round(100 * st.session_state[cut]), page=1))

    def looked_inside() -> None:
        go(replace(address, inside=st.session_state[parts], page=1))

    parts = f"inside {address.inside}"
    count, each, cut = f"results {address.results}", f"copies {address.copies}", f"cut {address.cut}"  # as for pages
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        markup.section(heading, width="content")
        markup.fold("Number, copies, cut-off", "options")
        with st.container(horizontal=True, vertical_alignment="center", gap="medium", key="fold options"):
            st.segmented_control(
                "Number of results",
                RESULTS,
                default=address.results,
                required=True,
                key=count,
                on_change=chosen,
                label_visibility="collapsed",
            )
            st.toggle("Fold near-duplicates", not address.copies, key=each, on_change=unfolded)
            if regions and not address.boxes:  # parts are compared with parts anyway
                st.toggle(
                    "Inside larger pictures",
                    address.inside,
                    key=parts,
                    on_change=looked_inside,
                    help="Also find pictures of which the query is a part",
                )
            level = "" if noise is None else f" (up to {noise:.2f} may be chance)"
            label = f"Similarity at least{level}"
            st.slider(label, 0.0, 1.0, address.cut / 100, 0.01, key=cut, on_change=moved, width=420)
