"""The Search page: all photos, or those that look like chosen, uploaded, photographed or pasted ones."""

import random
from collections.abc import Callable
from dataclasses import replace

import streamlit as st

from simsiam_retrieval.collection import Collection
from simsiam_retrieval.collection.storage.shard_manifest import is_sharded
from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.images.page_paths import file_and_page

from .. import markup, settings, show_folder
from ..components import chosen_image, tiles
from ..components.grid import grid
from ..components.viewer import Large, viewer
from ..open_collection import open_collection
from ..search import dates, filter_form, selection, uploads
from ..search.address import LEAVING, SORTS, Address
from . import collection_menu, search_results

INDEX = "python -m simsiam_retrieval.index FOLDER"
ORDERS = {"": "By path", dates.NEWEST: "Newest first", dates.OLDEST: "Oldest first"}
VIEWED_SIDE = 2048  # pixels of a picture in the viewer, longer side


def show() -> None:
    """Draw the page."""
    st.session_state.pop(LEAVING, None)
    try:
        address = here()
        _go_back_to_its_collection(address)
        collection = open_collection(settings.collection())
        images = len(collection)
        _header(collection, images, address)
        if (refused := uploads.refused()) is not None:
            markup.notice(refused)
        collection_menu.progress(collection)
        if not images:
            markup.notice("This collection holds no images yet. Index a folder of photos:", INDEX, kind="info")
            return
        _controls(collection, address)
        if address.is_query:
            search_results.show(collection, address, go, draw_grid)
        else:
            _all_photos(collection, images, address)
        show_large(collection)
    except UserError as error:
        markup.notice(str(error))


def _go_back_to_its_collection(address: Address) -> None:
    """Choose the collection again that an address with ids is of, as the browser's Back may lead to one from before."""
    if not settings.own() or not (address.image is not None or address.more or address.less):
        return
    folder = settings.marked(st.query_params.get(settings.OF))
    if folder is None:
        raise UserError("This address is of a collection that is no longer known here. Choose it on the first page.")
    if folder != settings.collection():
        collection_menu.forget_ids()
        settings.choose(folder)


def go(address: Address) -> None:
    """Make an address what the page shows.

    Args:
        address: The address.
    """
    st.query_params.from_dict(address.parameters())


def here() -> Address:
    """Return what the visitor sees now. After Back, buttons of an older address may still be there.

    Returns:
        The address.
    """
    return Address.read(st.query_params)


# -- above everything: what the collection is, what can be given to it


def _header(collection: Collection, images: int, address: Address) -> None:
    left, right = st.columns(2, gap="large", vertical_alignment="center")
    with left:
        roots = ", ".join(map(str, collection.roots))
        count = f"{images:,} image{'' if images == 1 else 's'}"
        markup.title(collection.folder.name, f"{count} from {roots}" if roots else count)
    with right:
        markup.fold("Search with photos of yours", "upload")
        with st.container(key="fold upload"):
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
        go(Address(upload=held, results=address.results, cut=address.cut, copies=address.copies, only=address.only))


def _controls(collection: Collection, address: Address) -> None:
    with st.container(horizontal=True, vertical_alignment="center", key="controls"):
        filter_form.conditions(collection, address, go)
        camera = st.popover("Camera", icon=":material/photo_camera:", key="camera place", on_change="rerun")
        if camera.open or st.session_state.get(uploads.CAMERA) is not None:  # the browser asks for leave only then
            with camera:
                st.camera_input(
                    "Search with a picture of this", key=uploads.CAMERA, on_change=_on_given, args=(address,)
                )
        st.button("Random image", icon=":material/shuffle:", on_click=_random, args=(collection, address))
        if address.is_query:
            st.button("All images", on_click=_all_images, args=(address,))
        if not is_sharded(collection.folder):
            _order(address)
        collection_menu.menu(collection)
    selection.bar(collection, on_similar=_similar_to(address))


def _order(address: Address) -> None:
    """The control that sorts by date."""
    orders = {**ORDERS, "": "Most similar first"} if address.is_query else ORDERS
    key = f"sort {address.is_query} {address.sort}"

    def sorted_() -> None:
        go(replace(here(), sort=st.session_state[key], page=1))

    st.selectbox(
        "Order",
        ("", *SORTS),
        ("", *SORTS).index(address.sort),
        key=key,
        format_func=orders.__getitem__,
        on_change=sorted_,
        label_visibility="collapsed",
        width=190,
    )


def _all_images(address: Address) -> None:
    uploads.forget_pasted()
    go(address.everything())


def _random(collection: Collection, address: Address) -> None:
    items = filter_form.matching(collection, address.only)
    if items is None:
        items = collection.items(1, random.randrange(max(1, len(collection))))
    if items:
        go(address.of_image(random.choice(items).id))


def _similar_to(address: Address) -> Callable[[list[int]], None]:
    def similar(ids: list[int]) -> None:
        first, *others = ids
        go(replace(address.of_image(first), more=tuple(others)))

    return similar


# -- all photos


def _all_photos(collection: Collection, images: int, address: Address) -> None:
    chosen = filter_form.matching(collection, address.only)
    if chosen is not None:
        markup.section(f"{len(chosen):,} of {images:,} images")
        if not chosen:
            markup.notice("No image meets all conditions of the filter. Take one of them away.", kind="info")
            draw_grid([], "No images", "nothing", address)  # the page listens for a pasted picture
            return
    pages = tiles.page_count(images if chosen is None else len(chosen))
    page = min(max(address.page, 1), pages)
    start = (page - 1) * tiles.PAGE
    if chosen is not None:
        items = (dates.by_date(chosen, address.sort) if address.sort else chosen)[start : start + tiles.PAGE]
    elif address.sort and not is_sharded(collection.folder):
        items = dates.page_by_date(collection, address.sort, tiles.PAGE, start)
    else:
        items = collection.items(tiles.PAGE, start)
    found = tiles.photo_tiles(collection, items, address)
    draw_grid(found, "All images", f"page {page} {address.sort} {address.only}", address)
    search_results.turn_pages(pages, page, address, go)


# -- pictures


def draw_grid(found: list[tiles.Tile], label: str, view: str, address: Address) -> None:
    """Draw tiles with all that can be done with them.

    Args:
        found: The tiles.
        label: Description for screen readers.
        view: Name of what the tiles are.
        address: What the page shows.
    """

    def more(id_: int) -> None:
        now = here()
        go(now.with_more(id_) if now.is_query else now.of_image(id_))

    def paste(value: object) -> None:
        if uploads.paste(value):
            _on_given(address)

    grid(
        found,
        label=label,
        view=view,
        marked=selection.selected(),
        refining=address.is_query,
        on_pick=lambda id_: go(address.of_image(id_)),
        on_mark=selection.toggle,
        on_range=selection.mark,
        on_more=more,
        on_less=lambda id_: go(here().with_less(id_)),
        on_fold=search_results.toggle_stack,
        on_paste=paste,
    )
    if len(found) > 1:
        every = [tile["id"] for tile in found]
        marked = set(every) <= set(selection.selected())
        st.button(
            "All of these are marked" if marked else f"Mark these {len(every)}",
            key="mark all",
            disabled=marked,
            on_click=selection.mark,
            args=(every,),
            help="With Shift, a click on ✓ marks all from the last marked one",
        )


def show_large(collection: Collection) -> None:
    """The place where a grid's "Show large" opens a picture; once on a page."""
    viewer(lambda id_: _large(collection, id_), _folder_opener(collection))


def _large(collection: Collection, id_: int) -> Large:
    """An image for the viewer."""
    item = collection.item(id_)
    if item is None:
        return Large(id=id_, source="", facts="no longer in the collection")
    jpeg, remark = chosen_image.item_picture(item, collection.thumbnail(id_), collection.reading, VIEWED_SIDE)
    facts = [
        f"{item.width} × {item.height} px",
        tiles.size_text(item.size),
        f"{'taken' if item.taken else 'changed'} {item.date:%Y-%m-%d %H:%M}",
        markup.shown(item.path.parent),
        remark,
    ]
    source = markup.jpeg_address(jpeg) if jpeg else ""
    return Large(id=id_, source=source, facts=" · ".join(filter(None, facts)))


def _folder_opener(collection: Collection) -> Callable[[int], None] | None:
    """What opens the folder of an image in the file manager; None where the visitor may be elsewhere."""
    if not settings.own() or not show_folder.can_show():
        return None

    def opened(id_: int) -> None:
        item = collection.item(id_)
        if item is not None:
            try:
                show_folder.show_folder(file_and_page(item.path)[0])
            except UserError as error:
                st.toast(markup.plain(str(error)))

    return opened
