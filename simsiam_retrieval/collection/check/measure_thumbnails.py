"""Measuring the images of a collection that an older version indexed, by their thumbnails: no file is read."""

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

BATCH = 1024  # images that are stored at a time


def measure_thumbnails(
    collection: Collection,
    on_start: Callable[[int], None] = lambda total: None,
    on_progress: Callable[[int], None] = lambda done: None,
) -> int:
    """Measure what was not measured yet; returns how many images that were.

    A thumbnail was compressed as JPEG, so its sharpness is a little off, and how the file stores its pixels is not
    known. Images that are indexed or read again are measured by their own pixels.

    Raises :class:`UserError` for a sharded collection, or where another process is updating.
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
    """None of a thumbnail that is damaged: --verify is for those."""
    try:
        with Image.open(io.BytesIO(thumbnail or b""), formats=("JPEG",)) as image:
            return measure(image.convert("RGB"))
    except (OSError, ValueError):
        return None
