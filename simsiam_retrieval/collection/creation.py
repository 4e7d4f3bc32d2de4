"""Making a collection's folder, keeping it tidy, and removing it."""

import contextlib
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from ..core.atomic_files import replacing
from ..core.errors import UserError
from ..core.paths import absolute
from ..encoder.find_encoder import find_encoder
from ..encoder.hub import source_of
from ..encoder.onnx_encoder import Encoder
from ..images.page_choice import FIRST, check_pages
from ..images.reading import Reading
from .storage.catalog_file import ENCODER_FILE, FILE, explained
from .storage.label_copy import FILE as LABELS_FILE
from .storage.rescue import KEPT
from .storage.shard_manifest import is_sharded
from .storage.sqlite_store import SqliteStore
from .storage.writer_lock import HOLDER_FILE, LOCK_FILE, writing

DERIVED = ("map-*.npz", "clusters-*.npz", "pairs.sqlite*")
# what files.replacing() leaves when its process is killed, and SQLite beside it
UNFINISHED = re.compile(
    r"\.(catalog\.sqlite|encoder\.onnx|labels\.jsonl|index-.*|regions-.*|map-.*\.npz|clusters-.*\.npz)\..*\.tmp(-.*)?"
)
OLD_SECONDS = 24 * 3600  # an unfinished file that old has no writer any more


class AlreadyThere(UserError):
    """A collection was to be made where there is one."""


def exists(folder: Path) -> bool:
    """Return whether a folder is a collection.

    Args:
        folder: The folder.

    Returns:
        True if it is.
    """
    return (folder / FILE).is_file() or is_sharded(folder)


def create(
    path: str | Path,
    encoder: str | Path | None,
    on_wait: Callable[[str], None] | None,
    exists: Callable[[Path], bool] = exists,
    *,
    value_range: str | None = None,
    bands: str | None = None,
    pages: str = FIRST,
) -> tuple[SqliteStore, Encoder]:
    """Make the folder of an empty collection; see ``Collection.create``.

    Args:
        path: The collection's folder.
        encoder: See ``Collection.create``.
        on_wait: See ``Collection.create``.
        exists: Tells whether a folder is a collection.
        value_range: See ``Collection.create``.
        bands: See ``Collection.create``.
        pages: See ``Collection.create``.

    Returns:
        Its store and its encoder.

    Raises:
        UserError: The folder is in use or cannot be written.
        AlreadyThere: It is a collection.
    """
    folder = absolute(path)
    check_pages(pages)
    loaded = Encoder(find_encoder(encoder), device="cpu")
    reading = loaded.reading.changed(range=value_range, bands=bands)
    found = folder.exists()
    try:
        if exists(folder):
            raise AlreadyThere(f"{folder}: already a collection; open it, or choose another --collection")
        if found and (not folder.is_dir() or any(not is_ours(entry) for entry in folder.iterdir())):
            raise UserError(f"{folder}: exists and is not an empty folder; choose another --collection")
        folder.mkdir(parents=True, exist_ok=True)
        with writing(folder, on_wait):
            if exists(folder):  # another process was faster
                raise AlreadyThere(f"{folder}: already a collection; open it, or choose another --collection")
            tidy(folder)
            with replacing(folder / ENCODER_FILE) as temporary:
                shutil.copyfile(loaded.file, temporary)
            try:
                with explained(folder):
                    facts = {"encoder": loaded.identity, "dim": str(loaded.dim)}
                    if (source := source_of(loaded.file)) is not None:
                        facts["encoder_source"] = source
                    if reading != Reading():
                        facts["reading"] = reading.text()
                    if pages != FIRST:
                        facts["pages"] = pages
                    store = SqliteStore.create(folder, facts)
                    store.take_copied_labels()
            except (OSError, UserError):
                remove_collection(folder, keep_folder=found)
                raise
            loaded.file = folder / ENCODER_FILE
            return store, loaded
    except OSError as error:
        if not found and folder.is_dir():
            remove_collection(folder, keep_folder=False)
        raise UserError(f"{folder}: cannot make a collection there ({error.strerror})") from None


def is_ours(entry: Path) -> bool:
    """Return whether a file is left of a creation that was cut off, or of a lost catalog.

    Args:
        entry: The file.

    Returns:
        True if it is.
    """
    known = (ENCODER_FILE, LOCK_FILE, HOLDER_FILE, LABELS_FILE, KEPT)
    left = any(entry.match(pattern) for pattern in ("index-*.faiss", "regions-*.faiss", *DERIVED))
    return entry.name in known or left or UNFINISHED.fullmatch(entry.name) is not None


def tidy(folder: Path) -> None:
    """Remove what killed writers left; for the holder of the lock. Maps and clusters are made without it.

    Args:
        folder: The collection's folder.
    """
    with contextlib.suppress(OSError):
        for entry in list(folder.iterdir()):
            mine = UNFINISHED.fullmatch(entry.name)
            if mine and (not mine[1].endswith(".npz") or time.time() - entry.stat().st_mtime > OLD_SECONDS):
                entry.unlink(missing_ok=True)


def remove_collection(folder: Path, *, keep_folder: bool) -> None:
    """Remove a collection's files; the folder too, unless somebody else made it.

    Args:
        folder: The collection's folder.
        keep_folder: Whether the folder stays.
    """
    ours = (f"{FILE}*", ENCODER_FILE, LOCK_FILE, HOLDER_FILE, "index-*.faiss", "regions-*.faiss", *DERIVED, ".*.tmp*")
    for pattern in ours:
        for file in folder.glob(pattern):
            file.unlink(missing_ok=True)
    if not keep_folder:
        with contextlib.suppress(OSError):  # something else is in it
            folder.rmdir()
