"""Opening or creating a collection and updating it. If there is nothing to index, nothing is left behind."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Unpack

from ...core.errors import UserError
from ...core.paths import absolute
from ...encoder.find_encoder import find_encoder
from ...encoder.onnx_encoder import Encoder
from ...images.files import Listing, list_images
from ...images.page_choice import FIRST
from ..collection import AlreadyThere, Collection, Preview, Update, remove_collection
from ..index.index_kinds import check_kind
from ..storage.finding import Finding
from .patterns import Selection
from .update_keywords import IndexKeywords, from_keywords
from .update_options import Hooks, IndexOptions, UpdateOptions


def index_folders(
    roots: Sequence[Path], folder: Path, encoder: str | None = None, **options: Unpack[IndexKeywords]
) -> Update:
    """Update the collection in a folder, or create it if there is none.

    Args:
        roots: Folders or files; empty for all that the collection was made of.
        folder: The collection's folder.
        encoder: A run folder, an ``.onnx`` file or ``hf://OWNER/NAME``; None is the collection's own, or the shipped
            one for a new collection.
        **options: As in ``Collection.update``, and those of the index (``index``, ``recall``, see
            ``Collection.rebuild_index``), of pixels (``value_range``, ``bands``, see ``Collection.create``; a
            collection keeps those that it was made with), and ``device``, see ``Encoder``; ``on_device`` is called
            with the encoder.

    Returns:
        What was done.

    Raises:
        UserError: A root does not exist or contains no usable image, the collection was made by another encoder, or
            the GPU that ``device`` asks for is not used.
    """
    return index_with(*from_keywords(IndexOptions, {**options, "encoder": encoder}), roots, folder)


def index_with(options: IndexOptions, hooks: Hooks, roots: Sequence[Path], folder: Path) -> Update:
    """Run ``index_folders`` with options and hooks that are made already.

    Args:
        options: The options.
        hooks: Functions that are called.
        roots: See ``index_folders``.
        folder: See ``index_folders``.

    Returns:
        What was done.

    Raises:
        UserError: As in ``index_folders``.
    """
    check_kind(options.index or "auto")  # before anything is created
    roots, folder = [absolute(root) for root in roots], absolute(folder)
    device = options.device or "auto"
    is_new = not Collection.exists(folder)
    found = folder.exists()
    made = listing = None
    if is_new:
        listing = _taken(roots, options)
        if device not in ("auto", "cpu"):  # fails before anything is created, if that GPU is not used
            Encoder(find_encoder(options.encoder), device=device)
        try:
            made = Collection.create(
                folder,
                options.encoder,
                value_range=options.value_range,
                bands=options.bands,
                pages=options.pages or FIRST,
                on_wait=hooks.on_wait,
            )
        except AlreadyThere:  # another process has just created it: this run is an update
            is_new = False
    with _opened(folder, options.encoder) if made is None else made as collection:
        collection.encoder_device = device
        hooks.on_device(collection.encoder)
        if made is None:
            _check_reading(collection, options)
        if made is not None or options.index is not None or options.recall is not None:
            collection.choose_index(options.index, options.recall, on_wait=hooks.on_wait)
        if made is None:
            update = collection.update_with(options, hooks, _known_roots(collection, roots))
        else:
            update = collection.update_with(options, hooks, roots, listing)
    if update.images == 0 and update.finished and update.failed:
        if is_new:
            remove_collection(folder, keep_folder=found)
        path, reason = update.failed[0]
        named = ", ".join(str(root) for root in roots) or str(folder)
        raise UserError(f"{named}: none of {len(update.failed)} image files can be read; the first: {path}: {reason}")
    return update


def preview_folders(options: IndexOptions, roots: Sequence[Path], folder: Path) -> Preview:
    """Return what ``index_with`` would do, without doing it.

    Args:
        options: The options.
        roots: See ``index_folders``.
        folder: See ``index_folders``.

    Returns:
        The preview.

    Raises:
        UserError: As in ``index_folders``.
    """
    roots, folder = [absolute(root) for root in roots], absolute(folder)
    if Collection.exists(folder):
        with _opened(folder, options.encoder) as collection:
            return collection.preview_with(options, _known_roots(collection, roots))
    Encoder(find_encoder(options.encoder), device="cpu")
    listing = _taken(roots, options)
    selection = Selection({}).with_asked(roots, options.patterns)
    taken = [file.path for file in listing.images if selection.takes(file.path)]
    return Preview(new=taken, unusable=listing.unreadable, left_out=len(listing.images) - len(taken))


def move_folder(
    folder: Path, old: Path, new: Path, *, on_wait: Callable[[str], None] | None = None, workers: int | None = None
) -> tuple[int, Update]:
    """Record that an indexed folder was moved, and update what is there now.

    Args:
        folder: The collection's folder.
        old: Where it was.
        new: Where it is.
        on_wait: See ``Collection.update``.
        workers: See ``Collection.update``.

    Returns:
        Number of moved images, and what the update did.

    Raises:
        UserError: As in ``Collection.move``.
    """
    with Collection.open(folder) as collection:
        images = collection.move(old, new, on_wait=on_wait)
        roots = [root for root in collection.roots if new in (root, *root.parents)]
        above = [root for root in collection.roots if root in new.parents]
        return images, collection.update(roots or above or None, on_wait=on_wait, workers=workers)


def verify_folder(folder: Path, *, on_wait: Callable[[str], None] | None = None) -> tuple[list[Finding], int]:
    """Check all that a collection stores, and repair what can be repaired, even if it cannot be opened.

    Args:
        folder: The collection's folder.
        on_wait: See ``Collection.update``.

    Returns:
        Each problem with its repair, and the number of images.

    Raises:
        UserError: It is no collection, or nothing can be read.
    """
    mended = []
    try:
        collection = Collection.open(folder)
    except UserError:
        if not Collection.exists(folder):
            raise
        mended = Collection.mend(folder, on_wait=on_wait)  # repairs what prevents opening it
        collection = Collection.open(folder)
    with collection:
        return mended + collection.verify(on_wait=on_wait), len(collection)


def _taken(roots: list[Path], options: UpdateOptions) -> Listing:
    """The files for a new collection; raises ``UserError`` if there are none."""
    if not roots:
        raise UserError("name a folder of images to index")
    selection = Selection({}).with_asked(roots, options.patterns)  # reports a wrong pattern before a long listing
    listing = list_images(roots, follow_links=bool(options.follow_links))
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


def _check_reading(collection: Collection, options: IndexOptions) -> None:
    """Raise ``UserError`` where other pixels are asked for than those that the vectors are of."""
    asked = collection.reading.changed(range=options.value_range, bands=options.bands)
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
