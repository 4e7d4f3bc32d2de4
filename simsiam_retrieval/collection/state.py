"""What an open collection holds: its store, its searcher and its encoder."""

import threading
from pathlib import Path
from typing import Self

from ..core.errors import UserError
from ..encoder.onnx_encoder import Encoder
from ..images.page_choice import FIRST
from ..images.reading import Reading
from .creation import ENCODER_FILE
from .search.searcher import Searcher
from .storage.capabilities import Capability, require
from .storage.catalog_file import explained
from .storage.store import Store


class CollectionState:
    """An open collection, without its public methods; see ``Collection``.

    Thread-safe: ``_lock`` guards the store.
    """

    def __init__(self, folder: Path, store: Store, device: str = "cpu", *, float16: bool = False) -> None:
        if device == "cuda":
            require(store, Capability.GPU)
        self.folder = folder
        self._store = store
        self._lock = threading.RLock()
        self._encoder: Encoder | None = None
        self._encoder_lock = threading.Lock()  # of its own, so that it can be loaded while the store is read
        self.encoder_device = "auto"  # what embeds; see Encoder
        with explained(folder):
            self.encoder_identity = store.meta("encoder")
            self.dim = int(store.meta("dim"))
        device = device if Capability.GPU in store.capabilities else "cpu"
        self._searcher = Searcher(store, self.dim, self._lock, device, float16=float16)

    def close(self) -> None:
        """Close the catalog."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def generation(self) -> int:
        """A number that increases with every update that changed something."""
        with self._lock, explained(self.folder):
            return self._store.generation()

    @property
    def encoder(self) -> Encoder:
        """The encoder that made the vectors, loaded from the collection's own copy.

        Raises:
            UserError: The copy is missing, damaged, or another encoder.
        """
        with self._encoder_lock:
            if self._encoder is None or self.encoder_device not in ("auto", self._encoder.device):
                encoder = Encoder(self.folder / ENCODER_FILE, device=self.encoder_device, tested=True)
                if encoder.identity != self.encoder_identity:
                    raise UserError(f"{encoder.file}: not the encoder that made this collection; put that one back")
                self._encoder = encoder
            return self._encoder

    @property
    def reading(self) -> Reading:
        """How the collection's files, and queries, become pixels."""
        with self._lock, explained(self.folder):
            stored = self._store.noted("reading")
        return self.encoder.reading if stored is None else Reading.of(stored)

    @property
    def pages(self) -> str:
        """Pages of TIFFs, and frames of DICOM files, that are items: "first" or "all"."""
        with self._lock, explained(self.folder):
            return self._store.noted("pages") or FIRST

    def _require(self, capability: Capability) -> None:
        with self._lock, explained(self.folder):
            require(self._store, capability)
