"""Measuring images that an older version indexed, from their thumbnails. Reads no image file."""

import contextlib
import io
from collections.abc import Callable

from PIL import Image

from ...core.errors import UserError
from ...images.measures import Measures, measure
from ..collection import Collection
from ..storage.catalog_file import explained
from ..storage.opening import open_to_update
from ..storage.shard_manifest import is_sharded
from ..storage.writer_lock import writing

BATCH = 1024  # images that are stored at once


def measure_thumbnails(
    collection: Collection,
    on_start: Callable[[int], None] = lambda total: None,
    on_progress: Callable[[int], None] = lambda done: None,
) -> int:
    """Measure all images without measures.

    A thumbnail is a compressed JPEG, so its sharpness is slightly inexact, and the mode of the file is unknown. Images
    that are indexed or read again are measured from their own pixels.

    Args:
        collection: The collection.
        on_start: Called with the number of images.
        on_progress: Called with the number of further images that are done.

    Returns:
        Number of images that were measured.

    Raises:
        UserError: The collection is sharded, or another process is updating.
    """
    folder = collection.folder
    if is_sharded(folder):
        raise UserError(f"{folder}: images of a sharded collection are not measured")
    with writing(folder), explained(folder), contextlib.closing(open_to_update(folder)) as catalog:
        known = catalog.measures()
        waiting = [id_ for id_ in catalog.ids().tolist() if id_ not in known]
        on_start(len(waiting))
        done = 0
        for start in range(0, len(waiting), BATCH):
            ids = waiting[start : start + BATCH]
            found = {id_: of for id_ in ids if (of := _measured(catalog.thumbnail(id_))) is not None}
            catalog.put_measures(found)
            done += len(found)
            on_progress(len(ids))
    return done


def _measured(thumbnail: bytes | None) -> Measures | None:
    """The measures of a thumbnail; None if it is damaged, which ``--verify`` repairs."""
    try:
        with Image.open(io.BytesIO(thumbnail or b""), formats=("JPEG",)) as image:
            return measure(image.convert("RGB"))
    except (OSError, ValueError):
        return None
