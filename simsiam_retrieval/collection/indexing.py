"""Open or create a collection and bring it up to date; leaves nothing behind when there is nothing to index."""

from collections.abc import Callable, Sequence
from pathlib import Path

from ..encoder import Encoder, find_encoder
from ..errors import UserError
from ..images.files import absolute, list_images
from ..images.pool import check_workers
from .collection import Collection, Update, remove_collection


def index_folders(
    roots: Sequence[Path],
    folder: Path,
    encoder: str | None = None,
    *,
    workers: int | None = None,
    on_start: Callable[[int], None] = lambda total: None,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Update:
    """Update the collection in ``folder`` with ``roots``; make it first where there is none.

    ``encoder`` None means the collection's own, or the shipped one for a new collection.

    Raises :class:`UserError` when a root does not exist or holds no usable image, or when the collection was made
    by another encoder.
    """
    if not roots:
        raise UserError("name a folder of images to index")
    check_workers(workers)  # before anything is created
    roots, folder = [absolute(root) for root in roots], absolute(folder)
    listing = list_images(roots)
    named = ", ".join(str(root) for root in roots)
    is_new = not Collection.exists(folder)
    found = folder.exists()
    if not listing.images and is_new:
        other = f" ({listing.other} other files)" if listing.other else ""
        raise UserError(f"{named}: no image files in there{other}; name a folder with JPEG, PNG, WebP, ... files")
    collection = Collection.create(folder, encoder) if is_new else _opened(folder, encoder)
    with collection:
        update = collection.update_listed(roots, listing, workers=workers, on_start=on_start, on_progress=on_progress)
    if update.images == 0 and update.finished and update.failed:
        if is_new:
            remove_collection(folder, keep_folder=found)
        path, reason = update.failed[0]
        raise UserError(f"{named}: none of {len(update.failed)} image files can be read; the first: {path}: {reason}")
    return update


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
