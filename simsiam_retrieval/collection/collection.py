"""The collection, as scripts and notebooks use it; its methods are in the folders of their subjects."""

from collections.abc import Callable
from pathlib import Path

from ..core.paths import absolute
from ..encoder.onnx_session import gpu_present
from ..images.page_choice import FIRST
from .creation import ENCODER_FILE, AlreadyThere, create, exists, remove_collection
from .duplicates.comparing import CollectionDuplicates
from .index.gpu_index import check_device
from .search.query_vectors import Query
from .search.searching import CollectionSearch
from .selection.selecting import CollectionSelection
from .storage.catalog_file import explained
from .storage.opening import open_store
from .update.results import Preview, Update
from .update.updating import CollectionUpdates

__all__ = ["ENCODER_FILE", "AlreadyThere", "Collection", "Preview", "Query", "Update", "remove_collection"]


class Collection(CollectionSearch, CollectionDuplicates, CollectionSelection, CollectionUpdates):
    """An indexed set of images on disk. Use ``open`` or ``create``.

    Thread-safe. Several processes may read while one updates.

    Its methods are in the folders of their subjects: reading what is stored in ``storage/contents.py``, searching in
    ``search/searching.py``, duplicates in ``duplicates/comparing.py``, choosing what to label in
    ``selection/selecting.py``, and all changes in ``update/updating.py``.
    """

    @classmethod
    def open(cls, path: str | Path, *, device: str = "cpu", float16: bool = False) -> "Collection":
        """Open a collection, plain or sharded (docs/sharded.md).

        Args:
            path: The collection's folder.
            device: Where to search: "cpu", "cuda" or "auto" (a GPU for 100,000 vectors and more).
            float16: Whether to store vectors on a GPU in half the space.

        Returns:
            The collection.

        Raises:
            UserError: It is no collection, damaged, or from a newer version, or there is no GPU.
        """
        check_device(device)
        folder = absolute(path)
        with explained(folder):
            return cls(folder, open_store(folder), device, float16=float16)

    @classmethod
    def create(
        cls,
        path: str | Path,
        encoder: str | Path | None = None,
        *,
        value_range: str | None = None,
        bands: str | None = None,
        pages: str = FIRST,
        on_wait: Callable[[str], None] | None = None,
    ) -> "Collection":
        """Create an empty collection with its own copy of an encoder. Queries are read in the same way as its files.

        Args:
            path: The collection's folder.
            encoder: A run folder, an ``.onnx`` file, a model on the Hub (``hf://…``), or None for the shipped one.
            value_range: Values of black and white for samples of more than 8 bits: "auto", "per-image" (each picture's
                own), or "LOW HIGH" for all. None is what the encoder was trained with.
            bands: Bands of TIFFs that are red, green and blue, for example "4,3,2". None is what the encoder was
                trained with.
            pages: Pages of TIFFs, and frames of DICOM files, that are items: "first" or "all".
            on_wait: See ``update``.

        Returns:
            The collection.

        Raises:
            UserError: The folder is in use or cannot be written.
            AlreadyThere: It is a collection, perhaps created a moment ago.
        """
        store, loaded = create(path, encoder, on_wait, cls.exists, value_range=value_range, bands=bands, pages=pages)
        made = cls(store.folder, store)
        if not gpu_present():  # with a GPU, the caller may still want the encoder there
            made._encoder = loaded
        return made

    @classmethod
    def exists(cls, path: str | Path) -> bool:
        """Return whether a folder is a collection.

        Args:
            path: The folder.

        Returns:
            True if it is.
        """
        return exists(Path(path).expanduser())
