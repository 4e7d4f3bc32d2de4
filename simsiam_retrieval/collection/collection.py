"""The collection, as scripts and notebooks use it.

Longer than other files: each public method has its whole description here, and calls the module that does the work.
"""

import contextlib
import itertools
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.errors import UserError
from ..core.paths import absolute
from ..encoder.onnx_encoder import Encoder, ImageLike, gpu_present
from ..images.files import Listing
from ..images.measures import Measures
from ..images.page_listing import FIRST
from ..images.reading import Reading
from .creation import ENCODER_FILE, AlreadyThere, create, exists, remove_collection
from .duplicates.comparison import Comparison, compare
from .duplicates.find_duplicates import Duplicate, check_threshold, find_duplicates
from .index.gpu_index import check_device
from .index.make_index import measured, record_settings
from .index.tuning import Measured
from .maintenance import rebuild_index, verify, verify_shards
from .search.filters import Filter
from .search.hits import Hits
from .search.query_vectors import combine, mean_weights
from .search.searcher import Searcher
from .storage.catalog_file import explained
from .storage.finding import Finding
from .storage.mending import mend
from .storage.opening import open_store, open_to_update
from .storage.sqlite_store import SqliteStore
from .storage.store import Capability, Store, require
from .storage.writer_lock import writing
from .types import Item, Record
from .update.edit import move, remove
from .update.options import Hooks, UpdateOptions
from .update.patterns import Patterns
from .update.results import Preview, Update
from .update.run_update import listed, preview, run_update

__all__ = ["ENCODER_FILE", "AlreadyThere", "Collection", "Preview", "Query", "Update", "remove_collection"]

Query = ImageLike | Item | NDArray[np.float32]


class Collection:
    """An indexed set of images on disk.

    Safe to share between threads; several processes may read while one updates. Use ``open`` or
    ``create``.
    """

    def __init__(self, folder: Path, store: Store, device: str = "cpu", *, float16: bool = False) -> None:
        if device == "cuda":
            require(store, Capability.GPU)
        self.folder = folder
        self._store = store
        self._lock = threading.RLock()
        self._encoder: Encoder | None = None
        self.encoder_device = "auto"  # what embeds; see Encoder
        with explained(folder):
            self.encoder_identity = store.meta("encoder")
            self.dim = int(store.meta("dim"))
        device = device if Capability.GPU in store.capabilities else "cpu"
        self._searcher = Searcher(store, self.dim, self._lock, device, float16=float16)

    @classmethod
    def open(cls, path: str | Path, *, device: str = "cpu", float16: bool = False) -> "Collection":
        """Open a collection folder, plain or sharded (docs/sharded.md).

        ``device``: where to search, cpu, cuda or auto (a GPU for 100,000 vectors and more). ``float16``: vectors in
        half the space on a GPU.

        Raises ``UserError`` when it is none, damaged, or from a newer version, or for a GPU that is not there.
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
        """Make an empty collection with its own copy of an encoder: a run folder, an ``.onnx`` file, one on
        the Hub (``hf://…``), or the default.

        ``value_range``: which values of samples beyond 8 bits are black and white: "auto", "per-image" (each picture's
        own), or "LOW HIGH" for all. ``bands``: which bands of TIFFs are red, green and blue, as "4,3,2". None for
        either is what the encoder was trained with. ``pages``: of TIFFs, "first" or "all". Queries are read in the same
        way. ``on_wait``: see ``update``.

        Raises ``UserError`` when the folder is in use or cannot be written; ``AlreadyThere`` when it is a
        collection, be it since a moment ago.
        """
        store, loaded = create(path, encoder, on_wait, cls.exists, value_range=value_range, bands=bands, pages=pages)
        made = cls(store.folder, store)
        if not gpu_present():  # else it may be asked for there
            made._encoder = loaded
        return made

    @classmethod
    def exists(cls, path: str | Path) -> bool:
        """Whether ``path`` holds a collection."""
        return exists(Path(path).expanduser())

    def close(self) -> None:
        """Release the catalog's file."""
        self._store.close()

    def __repr__(self) -> str:
        try:
            return f"<{type(self).__name__} {str(self.folder)!r}: {len(self)} images, encoder {self.encoder_identity}>"
        except (UserError, sqlite3.ProgrammingError):  # damaged, or closed
            return f"<{type(self).__name__} {str(self.folder)!r}, not open>"

    def __enter__(self) -> "Collection":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # -- reading

    def __len__(self) -> int:
        """Number of images that can be found."""
        with self._lock, explained(self.folder):
            return self._store.count()

    def __iter__(self) -> Iterator[Item]:
        """Images, sorted by path."""
        return iter(self.items())

    def items(self, limit: int = -1, offset: int = 0) -> list[Item]:
        """A page of the images, sorted by path."""
        with self._lock, explained(self.folder):
            return list(self._store.items(limit, offset))

    def matching(self, where: Filter) -> list[Item]:
        """The images that a filter lets through, sorted by path.

        Of a sharded collection in the order of ids; raises ``UserError`` where they are more than 200,000.
        """
        most = self._store.capabilities.get(Capability.LIST)
        with self._lock, explained(self.folder):
            found = list(itertools.islice(self._store.items_where(where), None if most is None else most + 1))
        if most is not None and len(found) > most:
            raise UserError(f"more than {most:,} images meet the conditions; add another one")
        return found

    def sampled_items(self, count: int) -> list[Item]:
        """All images, sorted by path; of a sharded collection up to ``count``, drawn at random."""
        with self._lock, explained(self.folder):
            return self._store.sampled_items(count)

    def item(self, id_: int) -> Item | None:
        """The image with this id, or None."""
        with self._lock, explained(self.folder):
            return self._store.items_by_id([id_]).get(id_)

    def item_at(self, path: str | Path) -> Item | None:
        """The image of this file, or None."""
        with self._lock, explained(self.folder):
            return self._store.item_at(absolute(path))

    def thumbnail(self, id_: int) -> bytes | None:
        """JPEG bytes, longer side 240 to 479 px (below 240 as it is), or None for an unknown id."""
        with self._lock, explained(self.folder):
            return self._store.thumbnail(id_)

    def labels(self) -> dict[int, str]:
        """Item id -> label, of the images that have one."""
        with self._lock, explained(self.folder):
            return self._store.labels()

    def measures(self) -> dict[int, Measures]:
        """Item id -> blur, brightness and so on, of the images that were measured; see ``Measures``.

        Images that an older version indexed are not in it until they are read again (``measure``); those of a
        sharded collection never are.
        """
        with self._lock, explained(self.folder):
            return self._store.measures()

    def set_labels(self, labels: Mapping[int, str | None]) -> list[int]:
        """Label images by item id, or take their labels away (None); all of it is stored, or nothing.

        A label belongs to a file's content: copies share it, and a file that is moved, or forgotten and found again,
        keeps it. Returns the ids that were passed over: a collection of the first version has no hash of their content;
        index them again to label them.

        Raises ``UserError`` for an unknown id, an empty label, or where the collection cannot be written.
        """
        labels = {id_: None if label is None else label.strip() for id_, label in labels.items()}
        if "" in labels.values():
            raise UserError("a label cannot be empty; None takes it away")
        with self._lock, explained(self.folder):
            require(self._store, Capability.LABEL)
            unknown = labels.keys() - self._store.items_by_id(labels)
            if unknown:
                raise UserError(f"{self.folder}: no image {min(unknown)} in it; nothing was labelled")
            return self._store.set_labels(labels)

    def vectors(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Item ids (n,), ascending, and their unit vectors (n, dim), all from one state of the collection.

        Raises ``UserError`` for a sharded collection of more than 200,000 images.
        """
        with self._lock, explained(self.folder):
            require(self._store, Capability.VECTORS)
            return self._store.vectors(self.dim)[1:]

    def sample(self, count: int) -> NDArray[np.float32]:
        """Unit vectors (min(n, count), dim) of images drawn at random; the same ones until an update."""
        with self._lock, explained(self.folder):
            return self._store.vectors_of(self._store.sampled_ids(count), self.dim)

    def vectors_of(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """The unit vectors (n, dim) of these images; raises ``UserError`` where one is gone."""
        with self._lock, explained(self.folder):
            found = self._store.items_by_id(ids)
            if len(found) < len(set(ids)):
                raise UserError(f"{self.folder}: an image is no longer in it; search again")
            return self._store.vectors_of(np.array(ids, np.int64), self.dim)

    def records(self, after: int, upto: int) -> tuple[list[Record], NDArray[np.float32]]:
        """Images with ids in (after, upto], in the order of ids, with digest and label; and their unit vectors
        (n, dim). All of one state of the collection.
        """
        with self._lock, explained(self.folder), self._store.snapshot():
            records = self._store.records(after, upto)
            return records, self.vectors_of([record.item.id for record in records])

    def next_id(self, after: int = 0) -> int | None:
        """The lowest id of an image beyond ``after``, or None."""
        with self._lock, explained(self.folder):
            return self._store.next_id(after)

    def own_name(self) -> str:
        """A random name by which others know this collection again, whatever its folder is called; made on first use.

        Copies of the folder share it. Raises ``UserError`` where it has to be made and cannot be written.
        """
        with self._lock, explained(self.folder):
            name = self._store.noted("own_name")
            if name is None:
                name = secrets.token_hex(8)
                self._store.note("own_name", name)
            return name

    def failures(self) -> list[tuple[Path, str]]:
        """Files that could not be used, with the reason."""
        with self._lock, explained(self.folder):
            return self._store.failures()

    @property
    def roots(self) -> list[Path]:
        """The folders that were indexed."""
        with self._lock, explained(self.folder):
            return self._store.roots()

    @property
    def generation(self) -> int:
        """Grows with every update that changed something."""
        with self._lock, explained(self.folder):
            return self._store.generation()

    @property
    def encoder(self) -> Encoder:
        """The encoder that made the vectors, from the collection's own copy."""
        with self._lock:
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
        """Which pages of TIFFs are items: "first" or "all"."""
        with self._lock, explained(self.folder):
            return self._store.noted("pages") or FIRST

    # -- searching

    def search(
        self,
        query: Query | Sequence[Query],
        k: int = 10,
        *,
        weights: Sequence[float] | None = None,
        unlike: Query | Sequence[Query] = (),
        where: Filter | None = None,
    ) -> Hits:
        """The ``k`` images most similar to ``query``, best first.

        ``query``: a path, encoded bytes, a Pillow image, a uint8 array (h, w, 3); or an item of this collection,
        which is then left out of its own results; or a float vector (dim,), which is scaled to unit length. A list of
        these means what they have in common: the direction of their mean, or of their sum by ``weights``, of which
        some may be negative. ``unlike``: queries of which half the mean is taken away. ``where``: only these images.

        A collection without an approximate index is searched exactly; so is what a filter leaves of any.

        Raises ``UserError`` for a query that cannot be read, for queries that cancel each other out, or ``k``
        below 1.
        """
        if k < 1:
            raise UserError(f"-k {k}: ask for at least one result")
        vector = self.direction(query, weights=weights, unlike=unlike)
        left_out = [one.id for one in (*_as_list(query), *_as_list(unlike)) if isinstance(one, Item)]
        return Hits(self._searcher.nearest(vector[None], k, where, left_out)[0], self.thumbnail)

    def direction(
        self,
        query: "Query | Sequence[Query]",
        *,
        weights: Sequence[float] | None = None,
        unlike: "Query | Sequence[Query]" = (),
    ) -> NDArray[np.float32]:
        """The unit vector (dim,) that ``search`` looks for; raises as it does."""
        like, away = _as_list(query), _as_list(unlike)
        if not like:
            raise UserError("no query image; name at least one")
        if weights is not None and away:
            raise UserError("give weights or unlike, not both: a negative weight leads away, too")
        vectors = np.stack([self._vector(one) for one in (*like, *away)])
        if len(vectors) == 1 and weights is None:
            return vectors[0]  # with all its bits
        return combine(vectors, mean_weights(len(like), len(away)) if weights is None else weights)

    def search_vectors(self, vectors: NDArray[np.float32], k: int = 10, *, where: Filter | None = None) -> list[Hits]:
        """For each of ``vectors`` (n, dim), scaled to unit length, its ``k`` most similar images, best first.

        Much faster than one search after the other. Raises ValueError for vectors that cannot be scaled.
        """
        if k < 1:
            raise UserError(f"-k {k}: ask for at least one result")
        queries = [self._unit(vector) for vector in vectors]
        found = self._searcher.nearest(np.stack(queries), k, where) if queries else []
        return [Hits(hits, self.thumbnail) for hits in found]

    @property
    def measured(self) -> Measured | None:
        """Recall and latency of an approximate index, measured when it was built; None for an exact one."""
        with self._lock, explained(self.folder):
            return measured(self._store)

    @property
    def noise_level(self) -> float | None:
        """The noise level of a typical image; None for fewer than 46 images.

        One random pair of images in a thousand exceeds the level of its query. A score up to it says no more than
        chance would; see docs/search.md.
        """
        return self._searcher.noise_level()

    def noise_level_of(self, query: NDArray[np.float32]) -> float | None:
        """The noise level of one query vector (dim,), of unit length; None for fewer than 46 images."""
        return self._searcher.noise_levels(query[None])[0]

    def _vector(self, query: "Query") -> NDArray[np.float32]:
        """The unit vector (dim,) of one query."""
        if isinstance(query, Item):
            with self._lock, explained(self.folder):
                stored = self._store.vector(query.id)
            if stored is None:
                raise UserError(f"{query.path}: no longer in the collection")
            return stored
        if isinstance(query, np.ndarray) and query.dtype.kind == "f":
            return self._unit(query)
        return self.encoder.embed([query], reading=self.reading)[0]

    def _unit(self, vector: np.ndarray) -> NDArray[np.float32]:
        length = float(np.linalg.norm(vector))
        if vector.shape != (self.dim,) or not np.isfinite(length) or length == 0:
            raise ValueError(f"expected a finite vector of {self.dim} values that are not all zero")
        return (vector / length).astype(np.float32)

    # -- duplicates

    def duplicates(
        self,
        threshold: float | None = None,
        *,
        exact: bool = False,
        on_progress: Callable[[int, int], None] = lambda rows, total: None,
    ) -> list[list[Duplicate]]:
        """Groups of two files or more that show the same picture, largest group first, best file first in each.

        The best file has most pixels, then most bytes; a file that is gone or changed since it was indexed, or a
        symbolic link, comes after those that are there. Each file of a group has the same bytes as the best one, or
        a cosine of at least ``threshold`` with it; no two best files have. Nothing is deleted.

        ``threshold``: in (0, 1]; None is the calibrated one of the shipped encoder. ``exact``: equal bytes only.
        ``on_progress`` is told how many more images were compared, and of how many.

        Memory beyond the vectors: about 100 MiB, and some 300 bytes an image. Time grows with n² / 2.

        Raises ``UserError`` for a threshold that is no cosine, or none for an encoder that has none.
        """
        self._require(Capability.COMPARE)
        if exact and threshold is not None:
            raise UserError("--exact compares bytes, --threshold compares vectors; choose one")
        least = None if exact else check_threshold(threshold, self.encoder_identity, self.folder)
        # a connection of its own: threads that search meanwhile need not wait
        with explained(self.folder), contextlib.closing(open_store(self.folder)) as catalog:
            return find_duplicates(catalog, self.dim, least, on_progress)

    def compare(self, least: float, on_progress: Callable[[int, int], None] = lambda rows, total: None) -> Comparison:
        """Compare all images with each other once; ``Comparison.groups`` then has duplicates at any threshold
        from ``least`` on, in no time.

        It is a picture of this ``generation``, and of the files as they are now. Keeps 12 bytes a pair, for the
        two million closest at most, and some 300 bytes an image. ``on_progress`` as in ``duplicates``.

        Raises ``UserError`` for a threshold that is no cosine.
        """
        self._require(Capability.COMPARE)
        check_threshold(least, self.encoder_identity, self.folder)
        return compare(self.folder, self.dim, least, on_progress)

    # -- updating; UserError where the store takes no single images

    def update(
        self,
        roots: Sequence[str | Path] | None = None,
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        prune: bool = False,
        reread: bool = False,
        follow_links: bool | None = None,
        pages: str | None = None,
        on_wait: Callable[[str], None] | None = None,
        workers: int | None = None,
        on_start: Callable[[int], None] = lambda total: None,
        on_progress: Callable[[int], None] = lambda done: None,
    ) -> Update:
        """Bring the collection up to date with the folders (or files) ``roots``; None means all it was made of.

        Embeds what is new or changed, forgets what is gone from these roots, and leaves other roots alone. A file is
        looked into where its size, its modification time or the time of its last change differ; ``reread``: every file
        is. A file whose content is known, because it was renamed, moved, copied or touched,
        is not embedded again. Broken files are recorded with a reason and not tried again until they change.
        Ctrl-C keeps what is done (``finished`` is False then).

        ``include``, ``exclude``: globs (see ``Glob``) in place of those recorded with these roots;
        files that they leave out are forgotten. ``prune``: forget the items of a root that is missing, or holds no
        image any more, and missing ones where another file system was mounted; otherwise they are kept (``held``),
        since the drive may not be mounted. ``follow_links``: whether to look into links to folders; None is as before
        (a new collection does not). ``pages``: which pages of TIFFs are items, "first" or "all"; None is as before.
        ``on_wait``: wait for another process that is updating, after telling this function
        so.

        ``on_start`` is told how many files need reading, ``on_progress`` how many more were read.

        Raises ``UserError`` when a named root does not exist (unless it is pruned), a pattern is none, or
        another process is updating.
        """
        self._require(Capability.UPDATE)
        options = UpdateOptions(Patterns(tuple(include), tuple(exclude)), prune, reread, follow_links, pages, workers)
        paths, listing = listed(self._updatable(), self._lock, roots, options)
        return self._update(paths, listing, options, Hooks(on_wait, on_start, on_progress))

    def update_listed(
        self,
        roots: Sequence[Path],
        listing: Listing,
        *,
        patterns: Patterns | None = None,
        prune: bool = False,
        reread: bool = False,
        follow_links: bool | None = None,
        pages: str | None = None,
        on_wait: Callable[[str], None] | None = None,
        workers: int | None = None,
        on_start: Callable[[int], None] = lambda total: None,
        on_progress: Callable[[int], None] = lambda done: None,
    ) -> Update:
        """``update`` for absolute ``roots`` whose files were listed already."""
        self._require(Capability.UPDATE)
        options = UpdateOptions(patterns or Patterns(), prune, reread, follow_links, pages, workers)
        return self._update(roots, listing, options, Hooks(on_wait, on_start, on_progress))

    def _update(self, roots: Sequence[Path], listing: Listing, options: UpdateOptions, hooks: Hooks) -> Update:
        report, index = run_update(
            self.folder, self.dim, roots, listing, options, hooks, lambda: (self.encoder, self.reading)
        )
        if index is not None:
            self._searcher.use(index)
        return report

    def preview(
        self,
        roots: Sequence[str | Path] | None = None,
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        prune: bool = False,
        reread: bool = False,
        follow_links: bool | None = None,
    ) -> Preview:
        """What ``update`` would do; nothing is changed. New files are read only to find moved ones.

        Raises ``UserError`` as ``update`` does.
        """
        self._require(Capability.UPDATE)
        options = UpdateOptions(Patterns(tuple(include), tuple(exclude)), prune, reread, follow_links)
        paths, listing = listed(self._updatable(), self._lock, roots, options)
        return preview(self.folder, paths, listing, options)

    def remove(self, paths: Sequence[str | Path], *, on_wait: Callable[[str], None] | None = None) -> Update:
        """Forget the items at or below ``paths``, and roots there; the files themselves are not touched.

        An update of a root above finds them again, unless its patterns leave them out.

        Raises ``UserError`` when the collection has nothing there, or another process is updating.
        """
        self._require(Capability.UPDATE)
        report, index = remove(self.folder, self.dim, [absolute(path) for path in paths], on_wait)
        if index is not None:
            self._searcher.use(index)
        return report

    def move(self, old: str | Path, new: str | Path, *, on_wait: Callable[[str], None] | None = None) -> int:
        """Record that the folder ``old`` is ``new`` now, and all that is below it; no file is opened.

        Ids, labels, vectors and thumbnails stay. Returns how many images moved.

        Raises ``UserError`` where ``new`` does not exist, nothing of ``old`` is in the collection, something of
        ``new`` already is, or another process is updating.
        """
        self._require(Capability.UPDATE)
        return move(self.folder, absolute(old), absolute(new), on_wait)

    def choose_index(
        self, kind: str | None = None, recall: float | None = None, *, on_wait: Callable[[str], None] | None = None
    ) -> None:
        """Choose the FAISS index that the next update makes; see ``rebuild_index``, which makes it now."""
        self._require(Capability.UPDATE)
        with (
            writing(self.folder, on_wait),
            explained(self.folder),
            contextlib.closing(open_to_update(self.folder)) as store,
        ):
            record_settings(store, kind, recall)

    def rebuild_index(
        self,
        kind: str | None = None,
        *,
        recall: float | None = None,
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        """Build the FAISS index again from the stored vectors; no image is read.

        ``kind`` (auto, flat, float16, ivf, ivf-sq8, hnsw) and ``recall``, what an approximate one is tuned to, are
        kept for later updates; None leaves them as they are.

        Raises ``UserError`` for a type that is none, when a stored vector is damaged, or when another process is
        updating.
        """
        index = rebuild_index(self._store, self.dim, kind, recall, on_wait)
        if index is not None:
            self._searcher.use(index)

    def verify(self, *, on_wait: Callable[[str], None] | None = None) -> list[Finding]:
        """Compare catalog, vectors, thumbnails, FAISS file and encoder with each other, and mend what can be mended.

        First the catalog itself (``mending.mend``). Images whose stored facts are damaged are forgotten, so that
        the next update reads them again; a FAISS file that does not fit is built again from the catalog. Returns what
        was wrong, each with its repair.

        Raises ``UserError`` for damage that cannot be mended: of the encoder, or where nothing can be read.
        """
        if Capability.UPDATE not in self._store.capabilities:
            return verify_shards(self.folder, self.encoder_identity, on_wait)
        mended = mend(self.folder, on_wait)
        with self._lock:
            self._reopen()
        found, index = verify(self.folder, self.dim, lambda: self.encoder, on_wait)
        if index is not None:
            self._searcher.use(index)
        return mended + found

    @classmethod
    def mend(cls, path: str | Path, *, on_wait: Callable[[str], None] | None = None) -> list[Finding]:
        """Put right what keeps a collection from being opened; ``verify`` does it, too, and looks at the rest.

        Returns what was wrong, each with its repair. Raises ``UserError`` where nothing can be read.
        """
        return mend(absolute(path), on_wait)

    def _reopen(self) -> None:
        """Read the catalog that is there now: mending may have put a new file in its place."""
        self._store.close()
        with explained(self.folder):
            self._store = open_store(self.folder)
        self._searcher.read_from(self._store)

    def _require(self, capability: Capability) -> None:
        with self._lock, explained(self.folder):
            require(self._store, capability)

    def _updatable(self) -> SqliteStore:
        assert isinstance(self._store, SqliteStore)
        return self._store


def _as_list(query: "Query | Sequence[Query]") -> list["Query"]:
    return list(query) if isinstance(query, list | tuple) and not isinstance(query, Item) else [query]  # type: ignore[list-item]
