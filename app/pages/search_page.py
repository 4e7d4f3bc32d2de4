"""The Search page: all photos, or those that look like chosen, uploaded, photographed or pasted ones."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from simsiam_retrieval.collection import Collection, Hit, Item
from simsiam_retrieval.collection.duplicates.find_duplicates import CALIBRATED
from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.images.apart import read_image_apart
from simsiam_retrieval.images.decode import ImageError
from simsiam_retrieval.images.reading import Reading

from .. import markup, settings
from ..components import chosen_image, tiles
from ..components.grid import grid
from ..components.score_spread import spread
from ..open_collection import open_collection
from ..search import filter_form, selection, uploads
from ..search.address import LEAVING, MOST_PAGES, RESULTS, Address, as_number

INDEX = "python -m simsiam_retrieval.index FOLDER"
ALIKE = 0.99  # cosine of near duplicates, for an encoder that has no calibrated one


@dataclass(frozen=True)
class Query:
    """What is searched for."""

    like: list[Item | NDArray[np.float32]]
    unlike: list[Item]
    photos: list[tuple[uploads.Photo, bytes, str]]  # with a picture to show, JPEG, and its size in words
    vector: NDArray[np.float32]  # (dim,)


def show() -> None:
    """Draw the page."""
    st.session_state.pop(LEAVING, None)
    try:
        collection = open_collection(settings.collection())
        images = len(collection)
        address = _here()
        _header(collection, images, address)
        if not images:
            markup.notice("This collection holds no images yet. Index a folder of photos:", INDEX, kind="info")
            return
        _controls(collection, address)
        if address.is_query:
            query = _query(collection, address)
            if query is None:
                _paste_only(address)
            else:
                _about(collection, query, address)
                _results(collection, query, address)
        else:
            _all_photos(collection, images, address)
    except UserError as error:
        markup.notice(str(error))


def _go(address: Address) -> None:
    st.query_params.from_dict(address.parameters())


def _here() -> Address:
    """Where the visitor is now: after the browser's Back, a button may still be there that an older address made."""
    return Address.read(st.query_params)


# -- above everything: what the collection is, what can be given to it


def _header(collection: Collection, images: int, address: Address) -> None:
    left, right = st.columns(2, gap="large", vertical_alignment="center")
    with left:
        roots = ", ".join(map(str, collection.roots))
        count = f"{images:,} image{'' if images == 1 else 's'}"
        markup.title(collection.folder.name, f"{count} from {roots}" if roots else count)
    with right:
        st.file_uploader(
            "Search with photos of yours, or paste one",
            key=uploads.UPLOADS,
            accept_multiple_files=True,
            max_upload_size=settings.MAX_UPLOAD,
            on_change=_on_given,
            args=(address,),
        )


def _on_given(address: Address) -> None:
    held = bool(uploads.photos())
    if held or address.upload:  # taking the photos away leaves their results, and no others
        _go(
            Address(upload=held, results=address.results, cut=address.cut, distinct=address.distinct, only=address.only)
        )


def _controls(collection: Collection, address: Address) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        filter_form.conditions(collection, address, _go)
        camera = st.popover("Camera", icon=":material/photo_camera:", key="camera place", on_change="rerun")
        if camera.open or st.session_state.get(uploads.CAMERA) is not None:  # the browser asks for leave only then
            with camera:
                st.camera_input(
                    "Search with a picture of this", key=uploads.CAMERA, on_change=_on_given, args=(address,)
                )
        st.button("Random image", icon=":material/shuffle:", on_click=_random, args=(collection, address))
        if address.is_query:
            st.button("All images", on_click=_all_images, args=(address,))
    selection.bar(collection, on_similar=_similar_to(address))


def _all_images(address: Address) -> None:
    uploads.forget_pasted()
    _go(address.everything())


def _random(collection: Collection, address: Address) -> None:
    items = filter_form.matching(collection, address.only)
    if items is None:
        items = collection.items(1, random.randrange(max(1, len(collection))))
    if items:
        _go(address.of_image(random.choice(items).id))


def _similar_to(address: Address):
    def go(ids: list[int]) -> None:
        first, *others = ids
        _go(replace(address.of_image(first), more=tuple(others)))

    return go


# -- all photos


def _all_photos(collection: Collection, images: int, address: Address) -> None:
    chosen = filter_form.matching(collection, address.only)
    if chosen is not None:
        markup.section(f"{len(chosen):,} of {images:,} images")
        if not chosen:
            markup.notice("No image meets all conditions of the filter. Take one of them away.", kind="info")
            _paste_only(address)
            return
    pages = tiles.page_count(images if chosen is None else len(chosen))
    page = min(max(address.page, 1), pages)
    start = (page - 1) * tiles.PAGE
    items = collection.items(tiles.PAGE, start) if chosen is None else chosen[start : start + tiles.PAGE]
    found = tiles.photo_tiles(collection, items, address)
    _grid(found, "All images", f"page {page} {address.only}", address)
    _pages(pages, page, address)


def _pages(pages: int, page: int, address: Address) -> None:
    if pages < 2:
        return
    key = f"page {page} of {pages}"  # a new key for each page, so that Back moves the control, too

    def turned() -> None:
        _go(replace(address, page=st.session_state[key]))

    st.pagination(pages, default=page, key=key, on_change=turned, width="stretch")


def _grid(found: list[tiles.Tile], label: str, view: str, address: Address) -> None:
    def more(id_: int) -> None:
        here = _here()
        _go(here.with_more(id_) if here.is_query else here.of_image(id_))

    def paste(value: object) -> None:
        if uploads.paste(value):
            _on_given(address)

    grid(
        found,
        label=label,
        view=view,
        marked=selection.selected(),
        refining=address.is_query,
        on_pick=lambda id_: _go(address.of_image(id_)),
        on_mark=selection.toggle,
        on_more=more,
        on_less=lambda id_: _go(_here().with_less(id_)),
        on_paste=paste,
    )


def _paste_only(address: Address) -> None:
    """No images; but the page listens for a pasted one."""
    _grid([], "No images", "nothing", address)


# -- a query


def _query(collection: Collection, address: Address) -> Query | None:
    """What the address and the given photos ask for; None after saying why that is nothing."""
    like: list[Item | NDArray[np.float32]] = []
    photos = []
    if address.image is not None:
        id_ = as_number(address.image)
        item = None if id_ is None else collection.item(id_)
        if item is None:
            text = f"There is no image {address.image} in this collection. It may have been removed, or indexed anew."
            markup.notice(f"{text} Choose another.")
            return None
        like.append(item)
    elif address.upload:
        given_photos = uploads.photos()
        if not given_photos:
            markup.notice("Photos of yours are not kept. Give them again to see what looks like them.", kind="info")
            return None
        for photo in given_photos:
            try:
                jpeg, pixels = chosen_image.uploaded_picture(photo.content, collection.reading)
                like.append(_embedded(collection, collection.encoder_identity, collection.reading, photo.content))
            except (ImageError, UserError) as error:
                reason = f"{error}".removeprefix("the image: ")
                markup.notice(f"{photo.name} cannot be used: {reason}. Try a JPEG, PNG, WebP or HEIC file.")
            else:
                photos.append((photo, jpeg, pixels))
    like += [item for id_ in address.more if (item := collection.item(id_)) is not None]
    unlike = [item for id_ in address.less if (item := collection.item(id_)) is not None]
    if not like:
        if not address.upload:
            markup.notice("The images of this search are no longer in the collection. Choose another.")
        return None
    return Query(like, unlike, photos, collection.direction(like, unlike=unlike))


@st.cache_data(show_spinner=False, max_entries=64)
def _embedded(_collection: Collection, identity: str, reading: Reading, content: bytes) -> NDArray[np.float32]:
    encoder = _collection.encoder
    return encoder.embed([read_image_apart(content, encoder.decode_side, reading)])[0]


def _about(collection: Collection, query: Query, address: Address) -> None:
    """The chosen image or photo in large, what is known of it, and what else is asked for."""
    first = query.like[0]
    left, right = st.columns([2, 3], gap="large", vertical_alignment="center")
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
        if len(query.photos) > 1:
            others = ", ".join(photo.name for photo, _, _ in query.photos[1:])
            facts.append(("Together with", others))
    with left:
        if jpeg:
            markup.picture(jpeg, name)
    with right:
        markup.facts([(what, str(value)) for what, value in facts], name, remark)
        _refinement(query)
        spread(collection, query.vector, collection.noise_level_of(query.vector), address.cut / 100)


def _take_out(id_: int) -> None:
    _go(_here().without(id_))


def _refinement(query: Query) -> None:
    """The images that were added to the query; a click takes one away."""
    rows = [("More like", [one for one in query.like[1:] if isinstance(one, Item)]), ("Less like", query.unlike)]
    for title, items in rows:
        if not items:
            continue
        with st.container(horizontal=True, vertical_alignment="center"):
            markup.faint(title, width="content")
            for item in items:
                # as plain text: Streamlit's Markdown would interpret a name
                st.button(
                    markup.plain(item.path.name),
                    key=f"{title} {item.id}",
                    icon=":material/close:",
                    help="Take it out of the search",
                    on_click=_take_out,
                    args=(item.id,),
                )


# -- results


def _results(collection: Collection, query: Query, address: Address) -> None:
    page = min(max(address.page, 1), MOST_PAGES)
    where = address.only.filter() if address.only.count() else None
    wanted = page * address.results + 1
    # near duplicates are hidden afterwards: more are fetched for each that may go
    hits = collection.search(query.like, 4 * wanted if address.distinct else wanted, unlike=query.unlike, where=where)
    noise = collection.noise_level_of(query.vector)
    shown = [hit for hit in hits if hit.score >= address.cut / 100]
    if address.distinct:
        shown = _distinct(collection, shown, query.vector if len(query.like) == 1 else None)
    more = len(shown) > page * address.results
    start = (page - 1) * address.results
    on_page = shown[start : start + address.results]
    _bar(address, f"{len(on_page)} most similar" if page == 1 else f"From {start + 1} to {start + len(on_page)}", noise)
    if not hits:
        if where is not None:
            markup.notice("No other image meets the conditions of the filter. Take one of them away.", kind="info")
        else:
            markup.notice("There is no other image in this collection yet. Index more photos:", INDEX, kind="info")
    elif not on_page:
        best = f"the most similar one has {hits[0].score:.3f}"
        markup.notice(f"Nothing reaches the cut-off of {address.cut / 100:.2f}; {best}. Lower it.", kind="info")
    elif page == 1 and not any(hit.above_noise is not False for hit in on_page):
        markup.notice(
            f"All of these may be chance: none is more alike than {noise or 0:.3f}, which one random pair of this "
            "collection in a thousand exceeds. They are the nearest there are.",
            kind="info",
        )
    found = tiles.hit_tiles(collection, on_page, address)
    _grid(found, "Most similar images", f"{_name(address)} page {page}", address)
    _pages(min(MOST_PAGES, page + more), page, address)


def _name(address: Address) -> str:
    """What is shown, to know when it changes."""
    photos = " ".join(f"{photo.name} {len(photo.content)}" for photo in uploads.photos()) if address.upload else ""
    return f"{replace(address, page=1)} {photos}"


def _distinct(collection: Collection, hits: Sequence[Hit], query: NDArray[np.float32] | None) -> list[Hit]:
    """``hits`` without those that nearly equal a better one, or the only query."""
    if not hits:
        return []
    least = CALIBRATED.get(collection.encoder_identity, ALIKE)
    vectors = collection.vectors_of([hit.item.id for hit in hits])
    kept: list[int] = []
    for row, hit in enumerate(hits):
        of_query = query is not None and hit.score >= least
        if not of_query and not (kept and (vectors[kept] @ vectors[row]).max() >= least):
            kept.append(row)
    return [hits[row] for row in kept]


def _bar(address: Address, heading: str, noise: float | None) -> None:
    """The line above results: what they are, how many, and which are left out."""
    left, right = st.columns([3, 2], gap="large", vertical_alignment="bottom")
    with left, st.container(horizontal=True, vertical_alignment="center"):
        markup.section(heading)
        key = f"results {address.results}"  # as for pages

        def chosen() -> None:
            _go(replace(address, results=st.session_state[key], page=1))

        st.segmented_control(
            "Number of results",
            RESULTS,
            default=address.results,
            required=True,
            key=key,
            on_change=chosen,
            label_visibility="collapsed",
        )
        alike = f"distinct {address.distinct}"

        def hidden() -> None:
            _go(replace(address, distinct=st.session_state[alike], page=1))

        st.toggle("Hide near duplicates", address.distinct, key=alike, on_change=hidden)
    with right:
        cut = f"cut {address.cut}"

        def moved() -> None:
            _go(replace(address, cut=round(100 * st.session_state[cut]), page=1))

        level = "" if noise is None else f" (up to {noise:.2f} may be chance)"
        st.slider(f"Similarity at least{level}", 0.0, 1.0, address.cut / 100, 0.01, key=cut, on_change=moved)
