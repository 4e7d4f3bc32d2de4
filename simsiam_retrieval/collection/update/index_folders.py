"""Opening or creating a collection and updating it. If there is nothing to index, nothing is left behind."""

from collections.abc import Callable, Sequence
from pathlib import Path

from ...core.errors import UserError
from ...core.paths import absolute
from ...encoder.find_encoder import find_encoder
from ...encoder.onnx_encoder import Encoder
from ...encoder.onnx_session import check_device
from ...images.files import Listing, list_images
from ...images.page_listing import FIRST, check_pages
from ...images.worker_pool import check_workers
from ..collection import AlreadyThere, Collection, Preview, Update, remove_collection
from ..index.index_types import check_kind
from ..index.tuning import check_recall
from .patterns import Patterns, Selection


def index_folders(
    roots: Sequence[Path],
    folder: Path,
    encoder: str | None = None,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    prune: bool = False,
    reread: bool = False,
    follow_links: bool | None = None,
    index: str | None = None,
    recall: float | None = None,
    value_range: str | None = None,
    bands: str | None = None,
    pages: str | None = None,
    on_wait: Callable[[str], None] | None = None,
    workers: int | None = None,
    device: str = "auto",
    on_device: Callable[[Encoder], None] = lambda encoder: None,
    on_start: Callable[[int], None] = lambda total: None,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Update:
    """Update the collection in ``folder`` with ``roots``; make it first where there is none.

    No ``roots`` means all that the collection was made of. ``encoder`` None means the collection's own, or the shipped
    one for a new collection. ``index``, ``recall``: see ``Collection.rebuild_index``. ``device`` is that of
    ``Encoder``; ``on_device`` is told the encoder that is on it. ``value_range``, ``bands``: see
    ``Collection.create``; a collection keeps those that it was made with. The other options are those of
    ``Collection.update``.

    Raises ``UserError`` when a root does not exist or holds no usable image, or when the collection was made
    by another encoder, or the GPU that ``device`` asks for is not used.
    """
    check_workers(workers)  # before anything is created
    check_device(device)
    check_kind(index or "auto")
    check_recall(1.0 if recall is None else recall)
    check_pages(pages or FIRST)
    roots, folder = [absolute(root) for root in roots], absolute(folder)
    patterns = Patterns(tuple(include), tuple(exclude))
    is_new = not Collection.exists(folder)
    found = folder.exists()
    made, listing = None, Listing()
    if is_new:
        listing = _taken(roots, patterns, follow_links=bool(follow_links))
        if device not in ("auto", "cpu"):
            Encoder(find_encoder(encoder), device=device)  # fails before anything is created, if that GPU is not used
        try:
            made = Collection.create(
                folder, encoder, value_range=value_range, bands=bands, pages=pages or FIRST, on_wait=on_wait
            )
        except AlreadyThere:  # another process has just created it: this run is an update
            is_new = False
    if made is not None:
        with made as collection:
            collection.encoder_device = device
            on_device(collection.encoder)
            collection.choose_index(index, recall, on_wait=on_wait)
            update = collection.update_listed(
                roots,
                listing,
                patterns=patterns,
                on_wait=on_wait,
                follow_links=follow_links,
                workers=workers,
                on_start=on_start,
                on_progress=on_progress,
            )
    else:
        with _opened(folder, encoder) as collection:
            collection.encoder_device = device
            on_device(collection.encoder)
            _check_reading(collection, value_range, bands)
            if index is not None or recall is not None:
                collection.choose_index(index, recall, on_wait=on_wait)
            update = collection.update(
                _known_roots(collection, roots),
                include=include,
                exclude=exclude,
                prune=prune,
                reread=reread,
                follow_links=follow_links,
                pages=pages,
                on_wait=on_wait,
                workers=workers,
                on_start=on_start,
                on_progress=on_progress,
            )
    if update.images == 0 and update.finished and update.failed:
        if is_new:
            remove_collection(folder, keep_folder=found)
        path, reason = update.failed[0]
        named = ", ".join(str(root) for root in roots) or str(folder)
        raise UserError(f"{named}: none of {len(update.failed)} image files can be read; the first: {path}: {reason}")
    return update


def preview_folders(
    roots: Sequence[Path],
    folder: Path,
    encoder: str | None = None,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    prune: bool = False,
    reread: bool = False,
    follow_links: bool | None = None,
) -> Preview:
    """Return what ``index_folders`` would do, without doing it.

    Args:
        roots: See ``index_folders``.
        folder: See ``index_folders``.
        encoder: See ``index_folders``.
        include: See ``index_folders``.
        exclude: See ``index_folders``.
        prune: See ``index_folders``.
        reread: See ``index_folders``.
        follow_links: See ``index_folders``.

    Returns:
        The preview.

    Raises:
        UserError: As in ``index_folders``.
    """
    roots, folder = [absolute(root) for root in roots], absolute(folder)
    if Collection.exists(folder):
        with _opened(folder, encoder) as collection:
            return collection.preview(
                _known_roots(collection, roots),
                include=include,
                exclude=exclude,
                prune=prune,
                reread=reread,
                follow_links=follow_links,
            )
    Encoder(find_encoder(encoder), device="cpu")
    patterns = Patterns(tuple(include), tuple(exclude))
    listing = _taken(roots, patterns, follow_links=bool(follow_links))
    selection = Selection({}).with_asked(roots, patterns)
    taken = [file.path for file in listing.images if selection.takes(file.path)]
    return Preview(new=taken, unusable=listing.unreadable, left_out=len(listing.images) - len(taken))


def _taken(roots: list[Path], patterns: Patterns, *, follow_links: bool) -> Listing:
    """The files for a new collection; raises ``UserError`` if there are none."""
    if not roots:
        raise UserError("name a folder of images to index")
    selection = Selection({}).with_asked(roots, patterns)  # reports a wrong pattern before a long listing
    listing = list_images(roots, follow_links=follow_links)
    named = ", ".join(str(root) for root in roots)
    if not listing.images:
        if (count := listing.linked_folders) > 0:
            links = "a link to a folder" if count == 1 else f"{count} links to folders"
            raise UserError(
                f"{named}: no image files in there, but {links}; use --follow-links, or name the folders themselves"
            )
        other = f" ({listing.other} other files)" if listing.other else ""
        raise UserError(f"{named}: no image files in there{other}; name a folder with JPEG, PNG, WebP, ... files")
    if not any(selection.takes(file.path) for file in listing.images):
        raise UserError(f"{named}: --include and --exclude leave none of {len(listing.images)} image files")
    return listing


def _known_roots(collection: Collection, roots: list[Path]) -> list[Path] | None:
    if not roots and not collection.roots:
        raise UserError("name a folder of images to index")
    return roots or None


def _check_reading(collection: Collection, value_range: str | None, bands: str | None) -> None:
    """Raise ``UserError`` where other pixels are asked for than those that the vectors are of."""
    asked = collection.reading.changed(range=value_range, bands=bands)
    if asked != collection.reading:
        was = " ".join(f"--{name} {value}" for name, value in collection.reading.described().items())
        raise UserError(
            f"{collection.folder}: made with {was or '--range auto, without --bands'}; vectors of differently read "
            "images cannot be compared: name a new folder with --collection"
        )


def _opened(folder: Path, encoder: str | None) -> Collection:
    collection = Collection.open(folder)
    if encoder is not None:
        asked = Encoder(find_encoder(encoder), device="cpu").identity
        if asked != collection.encoder_identity:
            collection.close()
            raise UserError(
                f"{folder}: made by another encoder ({collection.encoder_identity}, not {asked}); "
                "name a new folder with --collection"
            )
    return collection
