"""The collection, as scripts and notebooks use it."""

import contextlib
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from ..encoder import Encoder, ImageLike, find_encoder
from ..errors import UserError
from ..files import replacing
from ..images.files import ImageFile, Listing, absolute, list_images
from .catalog import FILE, Catalog, Item, Known, explained
from .embedding import embed_files
from .vector_index import VectorIndex

ENCODER_FILE = "encoder.onnx"
LOCK_FILE = ".lock"


class Hit(NamedTuple):
    """One search result."""

    rank: int  # from 1
    score: float  # cosine similarity, in [-1, 1]
    item: Item

    @property
    def path(self) -> Path:
        return self.item.path


@dataclass
class Update:
    """What an update did."""

    added: int = 0  # new files that can be found now
    changed: int = 0  # known files with new content
    removed: int = 0  # files forgotten, because they are gone
    images: int = 0  # in the whole collection, afterwards
    other_files: int = 0  # below the roots, not images by their name
    failed: list[tuple[Path, str]] = field(default_factory=list)  # below the roots; known broken files too
    finished: bool = True  # False after Ctrl-C; what was done is kept


class Collection:
    """An indexed set of images on disk.

    Safe to share between threads; several processes may read while one updates. Use :meth:`open` or
    :meth:`create`.
    """

    def __init__(self, folder: Path, catalog: Catalog) -> None:
        self.folder = folder
        self._catalog = catalog
        self._lock = threading.RLock()
        self._encoder: Encoder | None = None
        self._index: VectorIndex | None = None
        with explained(folder):
            self.encoder_identity = catalog.meta("encoder")
            self.dim = int(catalog.meta("dim"))

    @classmethod
    def open(cls, path: str | Path) -> "Collection":
        """Open a collection folder; raises :class:`UserError` when it is none, damaged, or from a newer version."""
        folder = absolute(path)
        with explained(folder):
            return cls(folder, Catalog.open(folder))

    @classmethod
    def create(cls, path: str | Path, encoder: str | Path | None = None) -> "Collection":
        """Make an empty collection with its own copy of an encoder: a run folder, an ``.onnx`` file, or the default.

        Raises :class:`UserError` when the folder is in use or cannot be written.
        """
        folder = absolute(path)
        loaded = Encoder(find_encoder(encoder), device="cpu")
        found = folder.exists()
        try:
            if found and (not folder.is_dir() or any(not _is_ours(entry) for entry in folder.iterdir())):
                raise UserError(f"{folder}: exists and is not an empty folder; choose another --collection")
            folder.mkdir(parents=True, exist_ok=True)
            with _writing(folder):
                if cls.exists(folder):
                    raise UserError(f"{folder}: already a collection; open it, or choose another folder")
                with replacing(folder / ENCODER_FILE) as temporary:
                    shutil.copyfile(loaded.file, temporary)
                try:
                    with explained(folder):
                        return cls(folder, Catalog.create(folder, {"encoder": loaded.identity, "dim": str(loaded.dim)}))
                except (OSError, UserError):
                    remove_collection(folder, keep_folder=found)
                    raise
        except OSError as error:
            if not found and folder.is_dir():
                remove_collection(folder, keep_folder=False)
            raise UserError(f"{folder}: cannot make a collection there ({error.strerror})") from None

    @classmethod
    def exists(cls, path: str | Path) -> bool:
        """Whether ``path`` holds a collection."""
        return (Path(path).expanduser() / FILE).is_file()

    def close(self) -> None:
        """Release the catalog's file."""
        self._catalog.close()

    def __enter__(self) -> "Collection":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # -- reading

    def __len__(self) -> int:
        """Number of images that can be found."""
        with self._lock, explained(self.folder):
            return self._catalog.count()

    def __iter__(self) -> Iterator[Item]:
        """Images, sorted by path."""
        return iter(self.items())

    def items(self, limit: int = -1, offset: int = 0) -> list[Item]:
        """A page of the images, sorted by path."""
        with self._lock, explained(self.folder):
            return list(self._catalog.items(limit, offset))

    def item(self, id_: int) -> Item | None:
        """The image with this id, or None."""
        with self._lock, explained(self.folder):
            return self._catalog.items_by_id([id_]).get(id_)

    def thumbnail(self, id_: int) -> bytes | None:
        """JPEG bytes, longer side at most 256 px, or None for an unknown id."""
        with self._lock, explained(self.folder):
            return self._catalog.thumbnail(id_)

    def failures(self) -> list[tuple[Path, str]]:
        """Files that could not be used, with the reason."""
        with self._lock, explained(self.folder):
            return self._catalog.failures()

    @property
    def roots(self) -> list[Path]:
        """The folders that were indexed."""
        with self._lock, explained(self.folder):
            return self._catalog.roots()

    @property
    def generation(self) -> int:
        """Grows with every update that changed something."""
        with self._lock, explained(self.folder):
            return self._catalog.generation()

    @property
    def encoder(self) -> Encoder:
        """The encoder that made the vectors, from the collection's own copy."""
        with self._lock:
            if self._encoder is None:
                encoder = Encoder(self.folder / ENCODER_FILE)
                if encoder.identity != self.encoder_identity:
                    raise UserError(f"{encoder.file}: not the encoder that made this collection; put that one back")
                self._encoder = encoder
            return self._encoder

    # -- searching

    def search(self, query: ImageLike | Item | NDArray[np.float32], k: int = 10) -> list[Hit]:
        """The ``k`` images most similar to ``query``, best first.

        ``query``: a path, encoded bytes, a Pillow image, a uint8 array (h, w, 3); or an item of this collection,
        which is then left out of its own results; or a float vector (dim,), which is scaled to unit length.

        Raises :class:`UserError` for a query that cannot be read, or ``k`` below 1.
        """
        if k < 1:
            raise UserError(f"-k {k}: ask for at least one result")
        if isinstance(query, Item):
            with self._lock, explained(self.folder):
                stored = self._catalog.vector(query.id)
            if stored is None:
                raise UserError(f"{query.path}: no longer in the collection")
            hits = self._nearest(stored, k + 1)
            hits = [hit for hit in hits if hit.item.id != query.id][:k]
            return [Hit(rank, hit.score, hit.item) for rank, hit in enumerate(hits, 1)]
        if isinstance(query, np.ndarray) and query.dtype.kind == "f":
            return self._nearest(self._unit(query), k)
        return self._nearest(self.encoder.embed([query])[0], k)

    def _unit(self, vector: np.ndarray) -> NDArray[np.float32]:
        length = float(np.linalg.norm(vector))
        if vector.shape != (self.dim,) or not np.isfinite(length) or length == 0:
            raise ValueError(f"expected a finite vector of {self.dim} values that are not all zero")
        return (vector / length).astype(np.float32)

    def _nearest(self, vector: NDArray[np.float32], k: int) -> list[Hit]:
        while True:
            index = self._current_index()
            scores, ids = index.search(vector[None], k)
            with self._lock, explained(self.folder):
                items = self._catalog.items_by_id(ids[0].tolist())
                if self._catalog.generation() == index.generation:
                    break  # else an update came between: its state, not a mixture
        found = [
            (float(score), items[id_]) for score, id_ in zip(scores[0], ids[0].tolist(), strict=True) if id_ in items
        ]
        return [Hit(rank, score, item) for rank, (score, item) in enumerate(found, 1)]

    def _current_index(self) -> VectorIndex:
        with self._lock, explained(self.folder):
            generation = self._catalog.generation()
            if self._index is None or self._index.generation != generation:
                self._index = VectorIndex.load(self.folder, generation)
                if self._index is None or not self._index.holds(self._catalog.ids(), self.dim):
                    generation, ids, vectors = self._catalog.vectors(self.dim)
                    self._index = VectorIndex.build(ids, vectors, generation)
            return self._index

    # -- updating

    def update(
        self,
        roots: Sequence[str | Path],
        *,
        workers: int | None = None,
        on_start: Callable[[int], None] = lambda total: None,
        on_progress: Callable[[int], None] = lambda done: None,
    ) -> Update:
        """Bring the collection up to date with the folders (or files) ``roots``.

        Embeds what is new or changed (by size and modification time), forgets what is gone from these roots, and
        leaves other roots alone. Broken files are recorded with a reason and not tried again until they change.
        Ctrl-C keeps what is done (``finished`` is False then).

        ``on_start`` is told how many files need reading, ``on_progress`` how many more were read.

        Raises :class:`UserError` when a root does not exist, or another process is updating.
        """
        paths = [absolute(root) for root in roots]
        return self.update_listed(
            paths, list_images(paths), workers=workers, on_start=on_start, on_progress=on_progress
        )

    def update_listed(
        self,
        roots: Sequence[Path],
        listing: Listing,
        *,
        workers: int | None = None,
        on_start: Callable[[int], None] = lambda total: None,
        on_progress: Callable[[int], None] = lambda done: None,
    ) -> Update:
        """:meth:`update` for absolute ``roots`` whose files were listed already."""
        # a connection of its own: threads that search meanwhile need not wait for the whole update
        with _writing(self.folder), explained(self.folder), contextlib.closing(Catalog.open(self.folder)) as catalog:
            return self._update(catalog, roots, listing, workers, on_start, on_progress)

    def _update(self, catalog: Catalog, roots, listing: Listing, workers, on_start, on_progress) -> Update:
        known: dict[Path, Known] = {}
        for root in roots:
            known.update(catalog.known_below(root))
        todo = [file for file in listing.images if not _same(file, known.get(file.path))]
        present = {file.path for file in listing.images}
        kept = [path for path, _ in listing.unreadable]  # what cannot be looked at now is not gone
        gone = [path for path in known if path not in present and not any(path == k or k in path.parents for k in kept)]
        report = Update(removed=len(gone), other_files=listing.other, failed=list(listing.unreadable))
        on_start(len(todo))
        try:
            for entries in embed_files(todo, self.encoder, workers=workers) if todo else ():
                catalog.add(entries)
                on_progress(len(entries))
        except KeyboardInterrupt:
            report.finished, report.removed, gone = False, 0, []
        published = catalog.publish(gone, roots)
        report.added, report.changed = published.new_images, published.changed_images
        if published.changed:
            generation, ids, vectors = catalog.vectors(self.dim)
            index = VectorIndex.build(ids, vectors, generation)
            with contextlib.suppress(OSError, RuntimeError):  # a cache: the next reader builds it from the catalog
                index.save(self.folder)
            with self._lock:
                self._index = index
        report.failed += [failure for failure in catalog.failures() if failure[0] in present]
        report.images = catalog.count()
        return report


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Hold the lock of whoever writes to a collection; raises :class:`UserError` when another process does."""
    lock = FileLock(folder / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"{folder}: another update of this collection is running; try again when it is done") from None
    except OSError as error:
        raise UserError(f"{folder}: no permission to write there ({error.strerror})") from None
    try:
        yield
    finally:
        lock.release()


def _is_ours(entry: Path) -> bool:
    """Whether a file is one that a creation which was cut off leaves behind."""
    return entry.name in (ENCODER_FILE, LOCK_FILE) or (entry.name.startswith(".") and entry.suffix == ".tmp")


def remove_collection(folder: Path, *, keep_folder: bool) -> None:
    """Remove a collection's files; the folder too, unless somebody else made it."""
    for pattern in (f"{FILE}*", ENCODER_FILE, LOCK_FILE, "index-*.faiss", ".*.tmp"):
        for file in folder.glob(pattern):
            file.unlink(missing_ok=True)
    if not keep_folder:
        with contextlib.suppress(OSError):  # something else is in it
            folder.rmdir()


def _same(file: ImageFile, row: Known | None) -> bool:
    return row is not None and (row.size, row.mtime_ns) == (file.size, file.mtime_ns)
