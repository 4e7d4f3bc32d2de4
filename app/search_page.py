"""The Search page: all photos, the neighbours of one, or those of an uploaded photo."""

from dataclasses import replace

import streamlit as st

from simsiam_retrieval.collection import Collection, Hit
from simsiam_retrieval.errors import UserError
from simsiam_retrieval.images.decode import ImageError

from . import markup, picture, settings, tiles
from .address import RESULTS, Address, as_number
from .grid import grid
from .opening import open_collection
from .server import MAX_UPLOAD

INDEX = "python -m simsiam_retrieval.index FOLDER"
UPLOAD = "photo"  # key of the upload


def show() -> None:
    """Draw the page."""
    try:
        collection = open_collection(settings.collection())
        images = len(collection)
        address = Address.read(st.query_params)
        _header(collection, images, address)
        if address.image is not None:
            _neighbours(collection, address)
        elif address.upload:
            _uploaded(collection, address)
        elif images:
            _all_photos(collection, images, address)
        else:
            markup.notice("This collection holds no images yet. Index a folder of photos:", INDEX, kind="info")
    except UserError as error:
        markup.notice(str(error))


def _go(address: Address) -> None:
    st.query_params.from_dict(address.parameters())


def _pick(address: Address, id_: int) -> None:
    _go(replace(address, image=str(id_)))


def _header(collection: Collection, images: int, address: Address) -> None:
    left, right = st.columns(2, gap="large", vertical_alignment="center")
    with left:
        roots = ", ".join(map(str, collection.roots))
        count = f"{images:,} image{'' if images == 1 else 's'}"
        markup.title(collection.folder.name, f"{count} from {roots}" if roots else count)
    with right:
        st.file_uploader(
            "Search with a photo of yours",
            key=UPLOAD,
            max_upload_size=MAX_UPLOAD,
            on_change=_on_upload,
            args=(address,),
        )


def _on_upload(address: Address) -> None:
    held = st.session_state[UPLOAD] is not None
    if held or address.upload:  # taking the photo away leaves its results, and no others
        _go(Address(upload=held, results=address.results))


def _all_photos(collection: Collection, images: int, address: Address) -> None:
    pages = tiles.page_count(images)
    page = min(max(address.page, 1), pages)
    items = collection.items(tiles.PAGE, (page - 1) * tiles.PAGE)
    found = tiles.photo_tiles(collection, items, address)
    grid(found, label="All images", view=f"page {page}", on_pick=lambda id_: _pick(address, id_))
    if pages > 1:
        key = f"page {page}"  # a new key for each page, so that Back moves the control, too

        def turned() -> None:
            _go(replace(address, page=st.session_state[key]))

        st.pagination(pages, default=page, key=key, on_change=turned, width="stretch")


def _neighbours(collection: Collection, address: Address) -> None:
    id_ = as_number(address.image)
    item = None if id_ is None else collection.item(id_)
    if item is None:
        text = f"There is no image {address.image} in this collection. It may have been removed, or indexed anew."
        markup.notice(f"{text} Choose another.")
        _all_images(address)
        return
    hits = collection.search(item, address.results)
    thumbnail = collection.thumbnail(item.id)
    jpeg, remark = picture.item_picture(item, thumbnail)
    name = markup.shown(item.path.name)
    left, right = st.columns([2, 3], gap="large", vertical_alignment="center")
    with left:
        if jpeg:
            markup.picture(jpeg, name)
    with right:
        pixels, size = f"{item.width} × {item.height} px", tiles.size_text(item.size)
        facts = [("Path", item.path), ("Size", pixels), ("File", f"{size}, {item.format}")]
        markup.facts(facts, name, remark)
    _results(collection, hits, address)


def _uploaded(collection: Collection, address: Address) -> None:
    photo = st.session_state.get(UPLOAD)
    if photo is None:
        markup.notice("Uploaded photos are not kept. Upload it again to see what looks like it.", kind="info")
        _all_images(address)
        return
    content = photo.getvalue()
    try:
        jpeg, pixels = picture.uploaded_picture(content)
    except ImageError as error:
        markup.notice(f"{photo.name} cannot be used: {error}. Try a JPEG, PNG, WebP or HEIC file.")
        _all_images(address)
        return
    hits = collection.search(content, address.results)
    left, right = st.columns([2, 3], gap="large", vertical_alignment="center")
    with left:
        markup.picture(jpeg, photo.name)
    with right:
        facts = [("Size", pixels), ("File", tiles.size_text(len(content)))]
        markup.facts(facts, photo.name, "Uploaded; it is not added to the collection.")
    _results(collection, hits, address)


def _results(collection: Collection, hits: list[Hit], address: Address) -> None:
    _bar(address, f"{len(hits)} most similar")
    if not hits:
        markup.notice("There is no other image in this collection yet. Index more photos:", INDEX, kind="info")
        return
    found = tiles.hit_tiles(collection, hits, address)
    view = f"image {address.image}" if address.image else f"upload {st.session_state[UPLOAD].file_id}"
    grid(found, label="Most similar images", view=view, on_pick=lambda id_: _pick(address, id_))


def _bar(address: Address, heading: str) -> None:
    """The line above results: what they are, how many, and the way back to all images."""
    with st.container(horizontal=True, vertical_alignment="center"):
        markup.section(heading)
        key = f"results {address.results}"  # as for pages

        def chosen() -> None:
            _go(replace(address, results=st.session_state[key]))

        st.segmented_control(
            "Number of results",
            RESULTS,
            default=address.results,
            required=True,
            key=key,
            on_change=chosen,
            label_visibility="collapsed",
        )
        _all_images(address)


def _all_images(address: Address) -> None:
    st.button("All images", on_click=_go, args=(Address(results=address.results),))
