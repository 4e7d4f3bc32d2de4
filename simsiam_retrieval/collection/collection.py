"""The collection, as scripts and notebooks use it."""

import contextlib
import os
import re
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.atomic_files import replacing
from ..core.errors import UserError
from ..core.paths import absolute, is_missing
from ..encoder.hub import source_of
from ..encoder.onnx_encoder import Encoder, ImageLike, find_encoder, gpu_present
from ..images.files import ImageFile, Listing, list_images
from ..images.measures import Measures
from ..images.page_listing import FIRST, check_pages, with_pages
from ..images.reading import Reading
from .duplicates.comparison import Comparison, compare
from .duplicates.find_duplicates import Duplicate, check_threshold, find_duplicates
from .index.gpu_index import check_device
from .index.make_index import INDEX_SEAL, is_outdated, make_index, measured, record_settings, seal_index
from .index.tuning import Measured
from .index.vector_index import VectorIndex
from .search.filters import Filter
from .search.hits import Hits
from .search.query_vectors import combine, mean_weights
from .search.searcher import Searcher
from .storage.catalog import FILE, RETRY, Catalog, Content, Entry, Item, Known, Record, explained
from .storage.finding import Finding
from .storage.label_copy import FILE as LABELS_FILE
from .storage.mending import KEPT, mend
from .storage.shard_manifest import is_sharded
from .storage.verification import damaged_items, index_problem
from .storage.writer_lock import HOLDER_FILE, LOCK_FILE, writing
from .update.catalog_entries import batches, embed_files
from .update.patterns import Patterns, Selection
from .update.planning import KnownContent, Plan, changed_inside, make_plan, moves

ENCODER_FILE = "encoder.onnx"
COPIED_AT_A_TIME = 64  # files
DERIVED = ("map-*.npz", "clusters-*.npz")
# what files.replacing() leaves when its process is killed, and SQLite beside it
UNFINISHED = re.compile(
    r"\.(catalog\.sqlite|encoder\.onnx|labels\.jsonl|index-.*|map-.*\.npz|clusters-.*\.npz)\..*\.tmp(-.*)?"
)
OLD_SECONDS = 24 * 3600  # an unfinished file that old has no writer any more

Query = ImageLike | Item | NDArray[np.float32]


class AlreadyThere(UserError):
    """A collection was to be made where there is one."""


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
    moved: int = 0  # of those added and removed: the same content under another name
    reused: int = 0  # of those added and changed: content that was known, so nothing was computed
    left_out: int = 0  # image files below the roots that the patterns leave out
    kinds: dict[str, int] = field(default_factory=dict)  # suffix -> how many of other_files, the most frequent first
    companions: int = 0  # those of other_files that belong to an image: sidecars, clips of live photos
    system_folders: dict[str, int] = field(default_factory=dict)  # trash, thumbnails, ... -> how many were passed over
    linked_folders: int = 0  # links to folders that were passed over
    held: list[tuple[Path, int]] = field(default_factory=list)  # places that may be unmounted -> items that were kept
    rebuilt: bool = False  # whether the FAISS index was made anew
    pages_left_out: int = 0  # of the files that were read now, beyond those that are items
    paged_files: int = 0  # how many of these files have such pages


@dataclass
class Preview:
    """What an update would do."""

    new: list[Path] = field(default_factory=list)
    changed: list[Path] = field(default_factory=list)  # by size or time
    moved: list[tuple[Path, Path]] = field(default_factory=list)  # from, to; neither new nor gone
    gone: list[Path] = field(default_factory=list)  # would be forgotten
    unusable: list[tuple[Path, str]] = field(default_factory=list)  # cannot even be looked at
    left_out: int = 0
    held: list[tuple[Path, int]] = field(default_factory=list)


class Collection:
    """An indexed set of images on disk.

    Safe to share between threads; several processes may read while one updates. Use :meth:`open` or
    :meth:`create`.
    """

    def __init__(self, folder: Path, catalog: Catalog, device: str = "cpu", *, float16: bool = False) -> None:
        self.folder = folder
        self._catalog = catalog
        self._lock = threading.RLock()
        self._encoder: Encoder | None = None
        self.encoder_device = "auto"  # what embeds; see Encoder
        with explained(folder):
            self.encoder_identity = catalog.meta("encoder")
            self.dim = int(catalog.meta("dim"))
        self._searcher = Searcher(catalog, self.dim, self._lock, device, float16=float16)

    @classmethod
    def open(cls, path: str | Path, *, device: str = "cpu", float16: bool = False) -> "Collection":
        """Open a collection folder, plain or sharded (docs/sharded.md).

        ``device``: where to search, cpu, cuda or auto (a GPU for 100,000 vectors and more). ``float16``: vectors in
        half the space on a GPU.

        Raises :class:`UserError` when it is none, damaged, or from a newer version, or for a GPU that is not there.
        """
        check_device(device)
        folder = absolute(path)
        if is_sharded(folder):
            from .sharded_collection import ShardedCollection  # late: it is made of this one

            cls = ShardedCollection
        with explained(folder):
            return cls(folder, Catalog.open(folder), device, float16=float16)

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
        way. ``on_wait``: see :meth:`update`.

        Raises :class:`UserError` when the folder is in use or cannot be written; :class:`AlreadyThere` when it is a
        collection, be it since a moment ago.
        """
        folder = absolute(path)
        check_pages(pages)
        loaded = Encoder(find_encoder(encoder), device="cpu")
        reading = loaded.reading.changed(range=value_range, bands=bands)
        found = folder.exists()
        try:
            if cls.exists(folder):
                raise AlreadyThere(f"{folder}: already a collection; open it, or choose another --collection")
            if found and (not folder.is_dir() or any(not _is_ours(entry) for entry in folder.iterdir())):
                raise UserError(f"{folder}: exists and is not an empty folder; choose another --collection")
            folder.mkdir(parents=True, exist_ok=True)
            with writing(folder, on_wait):
                if cls.exists(folder):  # another process was faster
                    raise AlreadyThere(f"{folder}: already a collection; open it, or choose another --collection")
                _tidy(folder)
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
                        catalog = Catalog.create(folder, facts)
                        catalog.take_copied_labels()
                        made = cls(folder, catalog)
                except (OSError, UserError):
                    remove_collection(folder, keep_folder=found)
                    raise
                if not gpu_present():  # else it may be asked for there
                    loaded.file = folder / ENCODER_FILE
                    made._encoder = loaded
                return made
        except OSError as error:
            if not found and folder.is_dir():
                remove_collection(folder, keep_folder=False)
            raise UserError(f"{folder}: cannot make a collection there ({error.strerror})") from None

    @classmethod
    def exists(cls, path: str | Path) -> bool:
        """Whether ``path`` holds a collection."""
        folder = Path(path).expanduser()
        return (folder / FILE).is_file() or is_sharded(folder)

    def close(self) -> None:
        """Release the catalog's file."""
        self._catalog.close()

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
            return self._catalog.count()

    def __iter__(self) -> Iterator[Item]:
        """Images, sorted by path."""
        return iter(self.items())

    def items(self, limit: int = -1, offset: int = 0) -> list[Item]:
        """A page of the images, sorted by path."""
        with self._lock, explained(self.folder):
            return list(self._catalog.items(limit, offset))

    def matching(self, where: Filter) -> list[Item]:
        """The images that a filter lets through, sorted by path.

        Of a sharded collection in the order of ids; raises :class:`UserError` where they are more than 200,000.
        """
        items = self.items()
        wanted = set(where.among(items, self.labels(), self.measures() if where.measures else None))
        return [item for item in items if item.id in wanted]

    def sampled_items(self, count: int) -> list[Item]:
        """All images, sorted by path; of a sharded collection up to ``count``, drawn at random."""
        return self.items()

    def item(self, id_: int) -> Item | None:
        """The image with this id, or None."""
        with self._lock, explained(self.folder):
            return self._catalog.items_by_id([id_]).get(id_)

    def item_at(self, path: str | Path) -> Item | None:
        """The image of this file, or None."""
        with self._lock, explained(self.folder):
            return self._catalog.item_at(absolute(path))

    def thumbnail(self, id_: int) -> bytes | None:
        """JPEG bytes, longer side 240 to 479 px (below 240 as it is), or None for an unknown id."""
        with self._lock, explained(self.folder):
            return self._catalog.thumbnail(id_)

    def measures(self) -> dict[int, Measures]:
        """Item id -> blur, brightness and so on, of the images that were measured; see :class:`Measures`.

        Images that an older version indexed are not in it until they are read again (:meth:`measure`); those of a
        sharded collection never are.
        """
        with self._lock, explained(self.folder):
            return self._catalog.measures()

    def labels(self) -> dict[int, str]:
        """Item id -> label, of the images that have one."""
        with self._lock, explained(self.folder):
            return self._catalog.labels()

    def set_labels(self, labels: Mapping[int, str | None]) -> list[int]:
        """Label images by item id, or take their labels away (None); all of it is stored, or nothing.

        A label belongs to a file's content: copies share it, and a file that is moved, or forgotten and found again,
        keeps it. Returns the ids that were passed over: a collection of the first version has no hash of their content;
        index them again to label them.

        Raises :class:`UserError` for an unknown id, an empty label, or where the collection cannot be written.
        """
        labels = {id_: None if label is None else label.strip() for id_, label in labels.items()}
        if "" in labels.values():
            raise UserError("a label cannot be empty; None takes it away")
        with self._lock, explained(self.folder):
            unknown = labels.keys() - self._catalog.items_by_id(labels)
            if unknown:
                raise UserError(f"{self.folder}: no image {min(unknown)} in it; nothing was labelled")
            return self._catalog.set_labels(labels)

    def vectors(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Item ids (n,), ascending, and their unit vectors (n, dim), all from one state of the collection."""
        with self._lock, explained(self.folder):
            return self._catalog.vectors(self.dim)[1:]

    def sample(self, count: int) -> NDArray[np.float32]:
        """Unit vectors (min(n, count), dim) of images drawn at random; the same ones until an update."""
        with self._lock, explained(self.folder):
            return self._catalog.vectors_of(self._catalog.sampled_ids(count), self.dim)

    def vectors_of(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """The unit vectors (n, dim) of these images; raises :class:`UserError` where one is gone."""
        with self._lock, explained(self.folder):
            found = self._catalog.items_by_id(ids)
            if len(found) < len(set(ids)):
                raise UserError(f"{self.folder}: an image is no longer in it; search again")
            return self._catalog.vectors_of(np.array(ids, np.int64), self.dim)

    def records(self, after: int, upto: int) -> tuple[list[Record], NDArray[np.float32]]:
        """Images with ids in (after, upto], in the order of ids, with digest and label; and their unit vectors
        (n, dim). All of one state of the collection.
        """
        with self._lock, explained(self.folder), self._catalog.snapshot():
            records = self._catalog.records(after, upto)
            return records, self.vectors_of([record.item.id for record in records])

    def next_id(self, after: int = 0) -> int | None:
        """The lowest id of an image beyond ``after``, or None."""
        with self._lock, explained(self.folder):
            return self._catalog.next_id(after)

    def own_name(self) -> str:
        """A random name by which others know this collection again, whatever its folder is called; made on first use.

        Copies of the folder share it. Raises :class:`UserError` where it has to be made and cannot be written.
        """
        with self._lock, explained(self.folder):
            name = self._catalog.noted("own_name")
            if name is None:
                name = secrets.token_hex(8)
                self._catalog.note("own_name", name)
            return name

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
            stored = self._catalog.noted("reading")
        return self.encoder.reading if stored is None else Reading.of(stored)

    @property
    def pages(self) -> str:
        """Which pages of TIFFs are items: "first" or "all"."""
        with self._lock, explained(self.folder):
            return self._catalog.noted("pages") or FIRST

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

        Raises :class:`UserError` for a query that cannot be read, for queries that cancel each other out, or ``k``
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
        """The unit vector (dim,) that :meth:`search` looks for; raises as it does."""
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
            return measured(self._catalog)

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
                stored = self._catalog.vector(query.id)
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

        Raises :class:`UserError` for a threshold that is no cosine, or none for an encoder that has none.
        """
        if exact and threshold is not None:
            raise UserError("--exact compares bytes, --threshold compares vectors; choose one")
        least = None if exact else check_threshold(threshold, self.encoder_identity, self.folder)
        # a connection of its own: threads that search meanwhile need not wait
        with explained(self.folder), contextlib.closing(Catalog.open(self.folder)) as catalog:
            return find_duplicates(catalog, self.dim, least, on_progress)

    def compare(self, least: float, on_progress: Callable[[int, int], None] = lambda rows, total: None) -> Comparison:
        """Compare all images with each other once; :meth:`Comparison.groups` then has duplicates at any threshold
        from ``least`` on, in no time.

        It is a picture of this :attr:`generation`, and of the files as they are now. Keeps 12 bytes a pair, for the
        two million closest at most, and some 300 bytes an image. ``on_progress`` as in :meth:`duplicates`.

        Raises :class:`UserError` for a threshold that is no cosine.
        """
        check_threshold(least, self.encoder_identity, self.folder)
        return compare(self.folder, self.dim, least, on_progress)

    # -- updating

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

        ``include``, ``exclude``: globs (see :class:`~.patterns.Glob`) in place of those recorded with these roots;
        files that they leave out are forgotten. ``prune``: forget the items of a root that is missing, or holds no
        image any more, and missing ones where another file system was mounted; otherwise they are kept (``held``),
        since the drive may not be mounted. ``follow_links``: whether to look into links to folders; None is as before
        (a new collection does not). ``pages``: which pages of TIFFs are items, "first" or "all"; None is as before.
        ``on_wait``: wait for another process that is updating, after telling this function
        so.

        ``on_start`` is told how many files need reading, ``on_progress`` how many more were read.

        Raises :class:`UserError` when a named root does not exist (unless it is pruned), a pattern is none, or
        another process is updating.
        """
        paths, listing = self._listed(roots, prune, follow_links)
        return self.update_listed(
            paths,
            listing,
            patterns=Patterns(tuple(include), tuple(exclude)),
            prune=prune,
            reread=reread,
            follow_links=follow_links,
            pages=pages,
            on_wait=on_wait,
            workers=workers,
            on_start=on_start,
            on_progress=on_progress,
        )

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
        """:meth:`update` for absolute ``roots`` whose files were listed already."""
        # a connection of its own: threads that search meanwhile need not wait for the whole update
        with (
            writing(self.folder, on_wait),
            explained(self.folder),
            contextlib.closing(Catalog.open_to_write(self.folder)) as catalog,
        ):
            _tidy(self.folder)
            if follow_links is not None:
                catalog.note("follow_links", "1" if follow_links else "")
            if pages is not None and pages != (catalog.noted("pages") or FIRST):
                catalog.note("pages", check_pages(pages))
            listing = with_pages(listing, catalog.noted("pages") or FIRST, workers=workers)
            plan = self._planned(catalog, roots, listing, patterns or Patterns(), prune=prune, reread=reread)
            return self._update(catalog, roots, listing, *plan, prune, workers, on_start, on_progress)

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
        """What :meth:`update` would do; nothing is changed. New files are read only to find moved ones.

        Raises :class:`UserError` as :meth:`update` does.
        """
        paths, listing = self._listed(roots, prune, follow_links)
        patterns = Patterns(tuple(include), tuple(exclude))
        with explained(self.folder), contextlib.closing(Catalog.open(self.folder)) as catalog:
            listing = with_pages(listing, catalog.noted("pages") or FIRST)
            plan, selection = self._planned(catalog, paths, listing, patterns, prune=prune, reread=reread)
            contents = KnownContent(catalog, plan.todo)
        new = [file for file in plan.todo if file.path not in plan.known]
        found = {file.path: content.digest for file in new if (content := contents.of(file))}
        moved = moves(plan.gone, plan.known, found)
        left, arrived = {old for old, _ in moved}, {path for _, path in moved}
        return Preview(
            new=[file.path for file in new if file.path not in arrived],
            changed=[file.path for file in plan.todo if file.path in plan.known],
            moved=moved,
            gone=sorted((path for path in plan.gone if path not in left), key=os.fsencode),
            unusable=[failure for failure in listing.unreadable if selection.takes(failure[0])],
            left_out=plan.left_out,
            held=plan.held,
        )

    def remove(self, paths: Sequence[str | Path], *, on_wait: Callable[[str], None] | None = None) -> Update:
        """Forget the items at or below ``paths``, and roots there; the files themselves are not touched.

        An update of a root above finds them again, unless its patterns leave them out.

        Raises :class:`UserError` when the collection has nothing there, or another process is updating.
        """
        wanted = [absolute(path) for path in paths]
        with (
            writing(self.folder, on_wait),
            explained(self.folder),
            contextlib.closing(Catalog.open_to_write(self.folder)) as catalog,
        ):
            known = catalog.known_below(wanted)
            lost = [root for root in catalog.roots() if any(path in (root, *root.parents) for path in wanted)]
            for path in wanted:
                if not any(path in (found, *found.parents) for found in [*known, *lost]):
                    raise UserError(f"{path}: nothing of it is in the collection; nothing was removed")
            usable = sum(row.error is None for row in known.values())
            published = catalog.publish(known, [], lost_roots=lost, selection=catalog.selection().without(lost))
            if published.changed:
                self._rebuild(catalog)
            return Update(removed=usable, images=catalog.count())

    def move(self, old: str | Path, new: str | Path, *, on_wait: Callable[[str], None] | None = None) -> int:
        """Record that the folder ``old`` is ``new`` now, and all that is below it; no file is opened.

        Ids, labels, vectors and thumbnails stay. Returns how many images moved.

        Raises :class:`UserError` where ``new`` does not exist, nothing of ``old`` is in the collection, something of
        ``new`` already is, or another process is updating.
        """
        source, target = absolute(old), absolute(new)
        if is_missing(target):
            raise UserError(f"{target}: no such file or folder; name the place where {source} is now")
        with (
            writing(self.folder, on_wait),
            explained(self.folder),
            contextlib.closing(Catalog.open_to_write(self.folder)) as catalog,
        ):
            known = catalog.known_below([source])
            roots = [root for root in catalog.roots() if source in (root, *root.parents)]
            if not known and not roots:
                raise UserError(f"{source}: nothing of it is in the collection; status lists its folders")
            inside = [path for path in catalog.known_below([target]) if path not in known]
            if inside:
                raise UserError(
                    f"{target}: {len(inside)} files of it are in the collection already; "
                    f"forget one of both with --remove, {target} or {source}"
                )
            catalog.move(source, target)
            return sum(row.error is None for row in known.values())

    def choose_index(
        self, kind: str | None = None, recall: float | None = None, *, on_wait: Callable[[str], None] | None = None
    ) -> None:
        """Choose the FAISS index that the next update makes; see :meth:`rebuild_index`, which makes it now."""
        with (
            writing(self.folder, on_wait),
            explained(self.folder),
            contextlib.closing(Catalog.open_to_write(self.folder)) as catalog,
        ):
            record_settings(catalog, kind, recall)

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

        Raises :class:`UserError` for a type that is none, when a stored vector is damaged, or when another process is
        updating.
        """
        with (
            writing(self.folder, on_wait),
            explained(self.folder),
            contextlib.closing(Catalog.open_to_write(self.folder)) as catalog,
        ):
            record_settings(catalog, kind, recall)
            self._rebuild(catalog, anew=True)

    def verify(self, *, on_wait: Callable[[str], None] | None = None) -> list[Finding]:
        """Compare catalog, vectors, thumbnails, FAISS file and encoder with each other, and mend what can be mended.

        First the catalog itself (:func:`.mending.mend`). Images whose stored facts are damaged are forgotten, so that
        the next update reads them again; a FAISS file that does not fit is built again from the catalog. Returns what
        was wrong, each with its repair.

        Raises :class:`UserError` for damage that cannot be mended: of the encoder, or where nothing can be read.
        """
        mended = mend(self.folder, on_wait)
        with self._lock:
            self._reopen()
        with (
            writing(self.folder, on_wait),
            explained(self.folder),
            contextlib.closing(Catalog.open_to_write(self.folder)) as catalog,
        ):
            _tidy(self.folder)
            _ = self.encoder  # raises where it is not the one that made the vectors
            generation = catalog.generation()
            index = VectorIndex.load(self.folder, generation)
            problem = index_problem(index, catalog, self.dim)
            sealed = catalog.noted_json(INDEX_SEAL)
            believed = sealed in (None, [generation, VectorIndex.seal_of(self.folder, generation)])
            witness = index if problem is None else None
            found, wrong_copies = damaged_items(catalog, self.dim, witness, believed=believed)
            if wrong_copies:
                problem = f"{wrong_copies} of its vectors {'is' if wrong_copies == 1 else 'are'} not the catalog's"
            elif problem is None and not believed:
                problem = "it does not fit its checksum"
            if found:
                catalog.publish([finding.subject for finding in found], [])
            catalog.seal()
            if problem is not None:
                file = self.folder / f"index-{generation}.faiss"
                found.append(Finding(file, problem, "built again from the catalog"))
            if found:
                self._rebuild(catalog, anew=True)
            elif catalog.noted(INDEX_SEAL) is None and (seal := VectorIndex.seal_of(self.folder, generation)):
                seal_index(catalog, generation, seal)  # an older version's, found to be right
            return mended + found

    @classmethod
    def mend(cls, path: str | Path, *, on_wait: Callable[[str], None] | None = None) -> list[Finding]:
        """Put right what keeps a collection from being opened; :meth:`verify` does it, too, and looks at the rest.

        Returns what was wrong, each with its repair. Raises :class:`UserError` where nothing can be read.
        """
        return mend(absolute(path), on_wait)

    def _reopen(self) -> None:
        """Read the catalog that is there now: mending may have put a new file in its place."""
        self._catalog.close()
        with explained(self.folder):
            self._catalog = Catalog.open(self.folder)
        self._searcher.read_from(self._catalog)

    def _listed(
        self, roots: Sequence[str | Path] | None, prune: bool, follow_links: bool | None
    ) -> tuple[list[Path], Listing]:
        """Absolute roots, all there are for None, and the files of those that are there."""
        paths = self.roots if roots is None else [absolute(root) for root in roots]
        missing = [root for root in paths if is_missing(root)]
        if roots is not None:
            with self._lock, explained(self.folder):
                known, recorded = self._catalog.known_below(missing) if missing else {}, self._catalog.roots()
            for root in missing:
                count = sum(root in (path, *path.parents) for path in known)
                if not count and root not in recorded:
                    list_images([root])  # says that it does not exist
                elif not prune:
                    raise UserError(
                        f"{root}: not there now; its {count} images are kept; mount or restore it, "
                        "or forget them with --prune"
                    )
        if follow_links is None:
            with self._lock, explained(self.folder):
                follow_links = bool(self._catalog.noted("follow_links"))
        return paths, list_images([root for root in paths if root not in missing], follow_links=follow_links)

    @staticmethod
    def _planned(
        catalog: Catalog, roots: Sequence[Path], listing: Listing, patterns: Patterns, *, prune: bool, reread: bool
    ) -> tuple[Plan, Selection]:
        """What is to do, after a look into the files that may have changed; and the patterns that decided it."""
        selection = catalog.selection().with_asked(roots, patterns)
        plan = make_plan(catalog, roots, listing, selection, patterns, prune=prune, reread=reread)
        changed = [file for file in plan.touched if changed_inside(file, plan.known[file.path])]
        plan.todo = sorted([*plan.todo, *changed], key=lambda file: os.fsencode(file.path))
        return plan, selection

    def _update(
        self,
        catalog: Catalog,
        roots: Sequence[Path],
        listing: Listing,
        plan: Plan,
        selection: Selection,
        prune: bool,
        workers: int | None,
        on_start: Callable[[int], None],
        on_progress: Callable[[int], None],
    ) -> Update:
        unreadable = [failure for failure in listing.unreadable if selection.takes(failure[0])]
        report = Update(
            other_files=listing.other,
            failed=unreadable,
            left_out=plan.left_out,
            kinds=dict(listing.kinds.most_common()),
            companions=listing.companions,
            system_folders=dict(listing.system_folders.most_common()),
            linked_folders=listing.linked_folders,
            held=plan.held,
        )
        on_start(len(plan.todo))
        found: dict[Path, bytes] = {}
        gone, lost = plan.gone, [root for root in roots if prune and is_missing(root)]
        try:
            rest = self._copy_known(catalog, plan, found, on_progress)
            chunks = embed_files(rest, self.encoder, workers=workers, reading=self.reading) if rest else ()
            for entries in batches(chunks):
                for entry in entries:
                    left = entry.pages - 1 if entry.format == "DICOM" or self.pages == FIRST else 0
                    report.pages_left_out += left
                    report.paged_files += left > 0
                _add(catalog, [entry for entry in entries if not _is_known(entry, plan.known.get(entry.path))])
                on_progress(len(entries))
        except KeyboardInterrupt:
            report.finished, gone, lost = False, [], []
        recorded = selection.without(lost) if lost or selection.by_root != catalog.selection().by_root else None
        kept = [root for root in roots if root not in lost]
        published = catalog.publish(gone, kept, lost_roots=lost, selection=recorded, mounts=plan.mounts)
        noted = plan.to_note(listing.images)
        if report.finished and noted:
            catalog.note_change_times(noted)
        report.added, report.changed, report.removed = published.new_images, published.changed_images, len(gone)
        report.reused = len(found)
        arrived = {path: digest for path, digest in found.items() if path not in plan.known}
        report.moved = len(moves(gone, plan.known, arrived))
        saved = VectorIndex.saved(self.folder, catalog.generation())
        if published.changed or not saved or is_outdated(catalog):
            self._rebuild(catalog)
            report.rebuilt = True
        report.failed += [failure for failure in catalog.failures() if failure[0] in plan.present]
        report.images = catalog.count()
        return report

    def _copy_known(
        self, catalog: Catalog, plan: Plan, found: dict[Path, bytes], on_progress: Callable[[int], None]
    ) -> list[ImageFile]:
        """Store the files whose content is known, note them in ``found``, and return the others."""
        contents = KnownContent(catalog, plan.todo)
        rest: list[ImageFile] = []
        for start in range(0, len(plan.todo), COPIED_AT_A_TIME):
            pairs: list[tuple[ImageFile, Content]] = []
            for file in plan.todo[start : start + COPIED_AT_A_TIME]:
                content = contents.of(file)
                if content is None:
                    rest.append(file)
                else:
                    pairs.append((file, content))
            if pairs:
                refused = set(catalog.add_known(pairs))
                found.update((file.path, content.digest) for file, content in pairs if file not in refused)
                rest += refused
                on_progress(len(pairs) - len(refused))
        return sorted(rest, key=lambda file: os.fsencode(file.path))

    def _rebuild(self, catalog: Catalog, *, anew: bool = False) -> None:
        """Make the FAISS index of the published generation."""
        self._searcher.use(make_index(catalog, self.dim, anew=anew))


def _as_list(query: "Query | Sequence[Query]") -> list["Query"]:
    return list(query) if isinstance(query, list | tuple) and not isinstance(query, Item) else [query]  # type: ignore[list-item]


def _add(catalog: Catalog, entries: list[Entry]) -> None:
    try:
        catalog.add(entries)
    except KeyboardInterrupt:
        catalog.add(entries)  # it was undone; a second Ctrl-C does without
        raise


def _is_known(entry: Entry, row: Known | None) -> bool:
    """Whether a file that was tried again failed as before: nothing to publish."""
    return row is not None and entry.error is not None and (entry.error, RETRY) == (row.error, row.mtime_ns)


def _is_ours(entry: Path) -> bool:
    """Whether a file is one that a creation which was cut off leaves behind, or is left of a lost catalog."""
    known = (ENCODER_FILE, LOCK_FILE, HOLDER_FILE, LABELS_FILE, KEPT)
    left = any(entry.match(pattern) for pattern in ("index-*.faiss", *DERIVED))
    return entry.name in known or left or UNFINISHED.fullmatch(entry.name) is not None


def _tidy(folder: Path) -> None:
    """Remove what killed writers left; for the holder of the lock. Maps and clusters are made without it."""
    with contextlib.suppress(OSError):
        for entry in list(folder.iterdir()):
            mine = UNFINISHED.fullmatch(entry.name)
            if mine and (not mine[1].endswith(".npz") or time.time() - entry.stat().st_mtime > OLD_SECONDS):
                entry.unlink(missing_ok=True)


def remove_collection(folder: Path, *, keep_folder: bool) -> None:
    """Remove a collection's files; the folder too, unless somebody else made it."""
    ours = (f"{FILE}*", ENCODER_FILE, LOCK_FILE, HOLDER_FILE, "index-*.faiss", *DERIVED, ".*.tmp*")
    for pattern in ours:
        for file in folder.glob(pattern):
            file.unlink(missing_ok=True)
    if not keep_folder:
        with contextlib.suppress(OSError):  # something else is in it
            folder.rmdir()
