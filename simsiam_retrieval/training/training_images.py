"""The images of a run: listing, decoding or reading from a cache, reporting."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..core import cli
from ..core.errors import UserError
from ..core.paths import absolute, default_cache
from ..core.progress import bar
from ..core.text import printable
from ..images.files import Identity, ImageFile, Listing
from ..images.reading import AS_THEY_ARE, Reading
from ..images.tar_archives import list_training_images
from .pixel_store import ImageStore, fits_in_memory, load_store, open_store
from .torchrun_processes import Processes


def find_images(roots: Sequence[Path]) -> Listing:
    """List the images below folders, also in tar archives.

    Args:
        roots: Files or folders.

    Returns:
        The images.

    Raises:
        UserError: There are none.
    """
    listing = list_training_images(roots)
    if not listing.images:
        named = ", ".join(str(root) for root in roots)
        other = f" ({listing.other} other files)" if listing.other else ""
        if listing.unreadable:
            path, reason = listing.unreadable[0]
            raise UserError(f"no image files that can be read{other}; {path}: {reason}")
        raise UserError(f"{named}: no image files in there{other}; name a folder with JPEG, PNG, WebP, ... files")
    return listing


def load_images(
    files: Sequence[ImageFile],
    side: int,
    processes: Processes,
    *,
    cache: Path | None,
    known_bad: Mapping[Identity, str],
    workers: int | None,
    reading: Reading = AS_THEY_ARE,
) -> ImageStore:
    """Decode images.

    With a cache, one process of each machine fills it, and the others open it. Without one, each process decodes into
    its own memory; if that is too small, a cache in the user's data directory is used.

    Args:
        files: The images.
        side: Side of the squares in pixels.
        processes: The processes that train together.
        cache: Folder of the cache, or None.
        known_bad: Images that are not tried, with the reason.
        workers: Number of worker processes; None chooses it.
        reading: How files become pixels.

    Returns:
        The decoded images.

    Raises:
        UserError: As in ``load_store``.
    """
    if cache is None and processes.from_first(not fits_in_memory(len(files) * processes.count, side, reading.channels)):
        cache = default_cache()
        if processes.first:
            cli.remark(f"too many images for half of the free memory: decoded ones are kept in {cache}")

    def load() -> ImageStore:
        with bar("decoding", len(files), show=processes.first) as shown:
            return load_store(
                files,
                side,
                cache=cache,
                reading=reading,
                known_bad=known_bad,
                workers=workers,
                progress=shown.advance,
                remark=cli.remark,
            )

    if cache is None or processes.count == 1:
        return load()
    with processes.one_by_machine() as leads:
        return load() if leads else open_store(files, side, cache, known_bad, reading)


def report_rejected(listing: Listing, store: ImageStore) -> None:
    """Print which images the run does not use, and why.

    Args:
        listing: The listing.
        store: The decoded images.
    """
    if listing.skipped:
        cli.remark(f"{listing.skipped} members of tar archives skipped: links, devices, hidden or sparse")
    rejected = [*listing.unreadable, *((file.label, reason) for file, reason in store.rejected)]
    if rejected:
        cli.remark(f"{len(rejected)} files left out:")
        for path, reason in rejected[:5]:
            cli.remark(f"  {printable(path)}: {printable(reason)}")
        rest = Counter(reason for _, reason in rejected[5:])
        for reason, count in rest.most_common(5):
            cli.remark(f"  {count} more: {reason}")


def without_copies(store: ImageStore, processes: Processes) -> ImageStore:
    """Leave out copies of earlier images, and print how many.

    Args:
        store: The decoded images.
        processes: The processes that train together; each of them leaves out the same images.

    Returns:
        The images without copies.
    """
    from .thinning import thinned

    found = thinned(store)
    if processes.first:
        cli.remark(
            f"{found.same + found.near} of {len(store)} images left out as copies: "
            f"{found.same} with the same pixels, {found.near} resized or recompressed"
        )
    return found.store


def data_facts(roots: Sequence[Path], store: ImageStore, fingerprint: str, cache: Path | None) -> dict:
    """Collect the facts about the images for ``config.json``.

    Args:
        roots: Files or folders.
        store: The decoded images.
        fingerprint: Their fingerprint.
        cache: Folder of the cache, or None.

    Returns:
        The facts.
    """
    return {
        "roots": [str(absolute(root)) for root in roots],
        "images": len(store),
        "rejected": len(store.rejected),
        "fingerprint": fingerprint,
        "cache": None if cache is None else str(absolute(cache)),
    }
