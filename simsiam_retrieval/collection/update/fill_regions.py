"""Regions of images that were indexed without them: their files are read once more."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from ...encoder.onnx_encoder import Encoder
from ...images.files import ImageFile
from ...images.reading import Reading
from ..regions.region_index import SETTING
from ..storage.sqlite_store import SqliteStore
from ..types import Entry
from .catalog_entries import batches, embed_files


def choose_regions(catalog: SqliteStore, wanted: bool | None) -> bool:
    """Record whether a collection has regions; if it shall have none, delete them.

    Args:
        catalog: The catalog.
        wanted: What was asked for; None keeps what is recorded.

    Returns:
        Whether it has regions.
    """
    recorded = bool(catalog.noted(SETTING))
    if wanted is None or wanted == recorded:
        return recorded
    catalog.note(SETTING, "1" if wanted else "")
    if not wanted:
        catalog.forget_regions()
    return wanted


def lacking_regions(catalog: SqliteStore, files: Iterable[ImageFile]) -> list[ImageFile]:
    """Find the files whose images are known and have no regions.

    Args:
        catalog: The catalog.
        files: Files that are there.

    Returns:
        Those of them.
    """
    paths = {item.path for item in catalog.items_by_id(catalog.without_regions()).values()}
    return [file for file in files if file.path in paths]


def fill_regions(
    catalog: SqliteStore,
    files: Sequence[ImageFile],
    embedder: Callable[[], tuple[Encoder, Reading]],
    workers: int | None,
    on_progress: Callable[[int], None],
) -> int:
    """Store the regions of images that have none. A file that changed meanwhile is left to the next update.

    Args:
        catalog: The catalog.
        files: Files of these images.
        embedder: Returns the collection's encoder, and how files become pixels.
        workers: Number of worker processes; None is one per CPU.
        on_progress: Called with the number of further files that were read.

    Returns:
        Number of images whose regions were stored.
    """
    stored = 0
    encoder, reading = embedder()
    for entries in batches(embed_files(files, encoder, workers=workers, reading=reading, regions=True)):
        found = dict(_of_same_content(catalog, entries))
        catalog.put_regions(found)
        stored += len(found)
        on_progress(len(entries))
    return stored


def _of_same_content(catalog: SqliteStore, entries: list[Entry]) -> Iterator[tuple]:
    for entry in entries:
        item = catalog.item_at(entry.path)
        if item is not None and entry.regions is not None and entry.digest == catalog.digest(item.id):
            yield item.id, entry.regions
