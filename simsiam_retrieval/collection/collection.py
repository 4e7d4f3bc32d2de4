"""The collection, as scripts and notebooks use it.

This file is longer than others: each public method has its full description here, and calls the module that does the
work.
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
from ..encoder.onnx_encoder import Encoder, ImageLike
from ..encoder.onnx_session import gpu_present
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
from .selection.select_images import AUTO, Selected, select_images
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
    """An indexed set of images on disk. Use ``open`` or ``create``.

    Thread-safe. Several processes may read while one updates.
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

    def close(self) -> None:
        """Close the catalog."""
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
        """Return a page of the images, sorted by path.

        Args:
            limit: Number of images; -1 for all.
            offset: Number of images to skip.

        Returns:
            The images.
        """
        with self._lock, explained(self.folder):
            return list(self._store.items(limit, offset))

    def matching(self, where: Filter) -> list[Item]:
        """Return the images that meet a filter, sorted by path; of a sharded collection, sorted by id.

        Args:
            where: The filter.

        Returns:
            The images.

        Raises:
            UserError: More than 200,000 images of a sharded collection meet it.
        """
        most = self._store.capabilities.get(Capability.LIST)
        with self._lock, explained(self.folder):
            found = list(itertools.islice(self._store.items_where(where), None if most is None else most + 1))
        if most is not None and len(found) > most:
            raise UserError(f"more than {most:,} images meet the conditions; add another one")
        return found

    def sampled_items(self, count: int) -> list[Item]:
        """Return all images, sorted by path; of a sharded collection a random sample.

        Args:
            count: Size of the sample.

        Returns:
            The images.
        """
        with self._lock, explained(self.folder):
            return self._store.sampled_items(count)

    def item(self, id_: int) -> Item | None:
        """Return an image by its id.

        Args:
            id_: The id.

        Returns:
            The image, or None.
        """
        with self._lock, explained(self.folder):
            return self._store.items_by_id([id_]).get(id_)

    def item_at(self, path: str | Path) -> Item | None:
        """Return the image of a file.

        Args:
            path: The file.

        Returns:
            The image, or None.
        """
        with self._lock, explained(self.folder):
            return self._store.item_at(absolute(path))

    def thumbnail(self, id_: int) -> bytes | None:
        """Return the thumbnail of an image.

        Args:
            id_: The image's id.

        Returns:
            JPEG; longer side 240 to 479 px, or that of a smaller image. None for an unknown id.
        """
        with self._lock, explained(self.folder):
            return self._store.thumbnail(id_)

    def labels(self) -> dict[int, str]:
        """Return all labels.

        Returns:
            Item id -> label, for the images that have one.
        """
        with self._lock, explained(self.folder):
            return self._store.labels()

    def measures(self) -> dict[int, Measures]:
        """Return the measures of all measured images: blur, brightness and so on, see ``Measures``.

        Images that an older version indexed are missing until they are read again (``measure``). Images of a sharded
        collection are never measured.

        Returns:
            Item id -> measures.
        """
        with self._lock, explained(self.folder):
            return self._store.measures()

    def set_labels(self, labels: Mapping[int, str | None]) -> list[int]:
        """Label images, or remove labels. All changes are stored, or none.

        A label belongs to a file's content. Copies share it, and a file that is moved, or forgotten and found again,
        keeps it.

        Args:
            labels: Item id -> label; None removes it.

        Returns:
            Ids that were skipped: a collection of the first version has no hash of their content; index them again to
            label them.

        Raises:
            UserError: An id is unknown, a label is empty, or the collection cannot be written.
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
        """Return all vectors, from one state of the collection.

        Returns:
            Item ids, int64 (n,), ascending, and unit vectors, float32 (n, dim).

        Raises:
            UserError: It is a sharded collection of more than 200,000 images.
        """
        with self._lock, explained(self.folder):
            require(self._store, Capability.VECTORS)
            return self._store.vectors(self.dim)[1:]

    def sample(self, count: int) -> NDArray[np.float32]:
        """Return the vectors of random images; the same ones until an update.

        Args:
            count: Size of the sample.

        Returns:
            Unit vectors, float32 (min(n, count), dim).
        """
        with self._lock, explained(self.folder):
            return self._store.vectors_of(self._store.sampled_ids(count), self.dim)

    def vectors_of(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Return the vectors of images.

        Args:
            ids: Item ids.

        Returns:
            Unit vectors, float32 (n, dim).

        Raises:
            UserError: An image is no longer in the collection.
        """
        with self._lock, explained(self.folder):
            found = self._store.items_by_id(ids)
            if len(found) < len(set(ids)):
                raise UserError(f"{self.folder}: an image is no longer in it; search again")
            return self._store.vectors_of(np.array(ids, np.int64), self.dim)

    def records(self, after: int, upto: int) -> tuple[list[Record], NDArray[np.float32]]:
        """Return images with digest, label and vector, in the order of ids, from one state of the collection.

        Args:
            after: Lowest id, not included.
            upto: Highest id, included.

        Returns:
            The records, and their unit vectors, float32 (n, dim).
        """
        with self._lock, explained(self.folder), self._store.snapshot():
            records = self._store.records(after, upto)
            return records, self.vectors_of([record.item.id for record in records])

    def next_id(self, after: int = 0) -> int | None:
        """Return the lowest id of an image above a number.

        Args:
            after: The number.

        Returns:
            The id, or None.
        """
        with self._lock, explained(self.folder):
            return self._store.next_id(after)

    def own_name(self) -> str:
        """Return a random name that identifies this collection, whatever its folder is called.

        The name is created at the first use. Copies of the folder share it.

        Returns:
            The name.

        Raises:
            UserError: It must be created, and the collection cannot be written.
        """
        with self._lock, explained(self.folder):
            name = self._store.noted("own_name")
            if name is None:
                name = secrets.token_hex(8)
                self._store.note("own_name", name)
            return name

    def failures(self) -> list[tuple[Path, str]]:
        """List the files that could not be used.

        Returns:
            Paths and reasons.
        """
        with self._lock, explained(self.folder):
            return self._store.failures()

    @property
    def roots(self) -> list[Path]:
        """The folders that were indexed."""
        with self._lock, explained(self.folder):
            return self._store.roots()

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
        """Pages of TIFFs, and frames of DICOM files, that are items: "first" or "all"."""
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
        """Find the most similar images, best first.

        A collection without an approximate index is searched exactly. So are the images that meet a filter.

        Args:
            query: A path, encoded bytes, a Pillow image, a uint8 array (h, w, 3), or a float vector (dim,), which is
                scaled to unit length. Or an item of this collection, which is then left out of its own results. A list
                of these searches for what they have in common: the direction of their mean, or of their sum with
                ``weights``.
            k: Number of results.
            weights: A weight for each query; some may be negative.
            unlike: Queries that the results should not look like; half their mean is subtracted.
            where: Search only images that meet this filter.

        Returns:
            The results.

        Raises:
            UserError: A query cannot be read, the queries cancel each other out, or ``k`` is below 1.
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
        """Compute the unit vector that ``search`` searches for.

        Args:
            query: See ``search``.
            weights: See ``search``.
            unlike: See ``search``.

        Returns:
            float32 (dim,).

        Raises:
            UserError: As in ``search``.
        """
        like, away = _as_list(query), _as_list(unlike)
        if not like:
            raise UserError("no query image; name at least one")
        if weights is not None and away:
            raise UserError("give weights or unlike, not both: a negative weight leads away, too")
        vectors = np.stack([self._vector(one) for one in (*like, *away)])
        if len(vectors) == 1 and weights is None:
            return vectors[0]  # without rounding
        return combine(vectors, mean_weights(len(like), len(away)) if weights is None else weights)

    def search_vectors(self, vectors: NDArray[np.float32], k: int = 10, *, where: Filter | None = None) -> list[Hits]:
        """Find the most similar images for many vectors at once. Much faster than single searches.

        Args:
            vectors: float32 (n, dim); they are scaled to unit length.
            k: Number of results.
            where: Search only images that meet this filter.

        Returns:
            The results of each vector, best first.

        Raises:
            UserError: ``k`` is below 1.
            ValueError: A vector cannot be scaled.
        """
        if k < 1:
            raise UserError(f"-k {k}: ask for at least one result")
        queries = [self._unit(vector) for vector in vectors]
        found = self._searcher.nearest(np.stack(queries), k, where) if queries else []
        return [Hits(hits, self.thumbnail) for hits in found]

    @property
    def measured(self) -> Measured | None:
        """Recall and latency of an approximate index, measured when it was built; None for an exact index."""
        with self._lock, explained(self.folder):
            return measured(self._store)

    @property
    def noise_level(self) -> float | None:
        """The noise level of a typical image; None for fewer than 46 images.

        One random pair of images in a thousand exceeds the level of its query. A score up to the level carries no
        information; see docs/search.md.
        """
        return self._searcher.noise_level()

    def noise_level_of(self, query: NDArray[np.float32]) -> float | None:
        """Return the noise level of a query.

        Args:
            query: Unit vector, float32 (dim,).

        Returns:
            The level; None for fewer than 46 images.
        """
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
        """Find groups of files that show the same picture. Nothing is deleted.

        The largest group is first, and the best file is first in each group. The best file has the most pixels, then
        the most bytes; files that are gone or changed since they were indexed, and symbolic links, come later. Each
        file of a group has the same bytes as the best one, or a cosine of at least ``threshold`` with it; no two best
        files have.

        Needs about 100 MiB and 300 bytes per image, in addition to the vectors. Time grows with n² / 2.

        Args:
            threshold: Cosine in (0, 1]; None is the calibrated one of the shipped encoder.
            exact: Compare only bytes.
            on_progress: Called with the number of further images that were compared, and the total.

        Returns:
            The groups.

        Raises:
            UserError: The threshold is no cosine, or there is none for this encoder.
        """
        self._require(Capability.COMPARE)
        if exact and threshold is not None:
            raise UserError("--exact compares bytes, --threshold compares vectors; choose one")
        least = None if exact else check_threshold(threshold, self.encoder_identity, self.folder)
        # a separate connection, so that threads that search need not wait
        with explained(self.folder), contextlib.closing(open_store(self.folder)) as catalog:
            return find_duplicates(catalog, self.dim, least, on_progress)

    def compare(self, least: float, on_progress: Callable[[int, int], None] = lambda rows, total: None) -> Comparison:
        """Compare all images once; ``Comparison.groups`` then gives duplicates at any higher threshold at once.

        The comparison is of the current ``generation``, and of the files as they are now. It needs 12 bytes per pair,
        for at most the two million closest pairs, and about 300 bytes per image.

        Args:
            least: Lowest threshold.
            on_progress: See ``duplicates``.

        Returns:
            The comparison.

        Raises:
            UserError: The threshold is no cosine.
        """
        self._require(Capability.COMPARE)
        check_threshold(least, self.encoder_identity, self.folder)
        return compare(self.folder, self.dim, least, on_progress)

    # -- labelling

    def select(
        self,
        count: int,
        strategy: str = AUTO,
        *,
        where: Filter | None = None,
        labels: Mapping[int, str] | None = None,
        chosen: Sequence[Item | int] = (),
        seed: int = 0,
    ) -> list[Selected]:
        """Choose images to label, the most useful first. The same arguments give the same images.

        Args:
            count: How many.
            strategy: One of ``collection.selection.select_images.STRATEGIES``; see docs/select.md.
            where: Choose only among images that meet this filter.
            labels: Item id -> label; None is ``labels()``. Labelled images are not chosen, and images like them come
                later.
            chosen: Images, or their ids, that were chosen earlier; they are treated in the same way.
            seed: Of k-means and of the random draw; 0 or more.

        Returns:
            The images, each with its rank and why it was chosen.

        Raises:
            UserError: The strategy is unknown or needs labels, there are fewer than ``count`` images to choose from, or
                it is a sharded collection of more than 200,000 images.
        """
        candidates = None if not where else {item.id for item in self.matching(where)}
        ids, vectors = self.vectors()
        labels = self.labels() if labels is None else labels
        earlier = [one.id if isinstance(one, Item) else one for one in chosen]
        choices = select_images(
            ids, vectors, count, strategy, candidates=candidates, labels=labels, chosen=earlier, seed=seed
        )
        with self._lock, explained(self.folder):
            items = self._store.items_by_id([choice.id for choice in choices])
        if len(items) < len(choices):
            raise UserError(f"{self.folder}: an update came between; select again")
        return [Selected(rank, items[choice.id], choice) for rank, choice in enumerate(choices, 1)]

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
        """Update the collection to its folders.

        New and changed files are embedded, and files that are gone are forgotten. Other roots are not touched. A file
        is read if its size, its modification time or the time of its last change differs. A file with known content
        (renamed, moved, copied or touched) is not embedded again. Broken files are recorded with a reason, and tried
        again only after they change. After Ctrl-C the finished work is kept, and ``finished`` is False.

        Args:
            roots: Folders or files; None for all that the collection was made of.
            include: Globs (see ``Glob``) that replace those recorded with these roots; files that match none are
                forgotten.
            exclude: Globs likewise; files that match one are forgotten.
            prune: Forget the items of a root that is missing or has no image any more, and missing items on a file
                system that is no longer mounted. Otherwise they are kept (``held``), because the drive may not be
                mounted.
            reread: Read every file.
            follow_links: Whether to follow links to folders; None is as before (a new collection does not).
            pages: Pages of TIFFs, and frames of DICOM files, that are items: "first" or "all"; None is as before.
            on_wait: Wait for another process's update; called with a message first. None: raise an error instead.
            workers: Number of worker processes; None is one per CPU.
            on_start: Called with the number of files to read.
            on_progress: Called with the number of further files that were read.

        Returns:
            What was done.

        Raises:
            UserError: A root does not exist (unless ``prune``), a pattern is wrong, or another process is updating.
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
        """Run ``update`` for roots whose files are already listed.

        Args:
            roots: Absolute paths.
            listing: Their files.
            patterns: Patterns that replace the recorded ones; None keeps them.
            prune: See ``update``.
            reread: See ``update``.
            follow_links: See ``update``.
            pages: See ``update``.
            on_wait: See ``update``.
            workers: See ``update``.
            on_start: See ``update``.
            on_progress: See ``update``.

        Returns:
            What was done.
        """
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
        """Return what ``update`` would do, without doing it. New files are read only to find moved ones.

        Args:
            roots: See ``update``.
            include: See ``update``.
            exclude: See ``update``.
            prune: See ``update``.
            reread: See ``update``.
            follow_links: See ``update``.

        Returns:
            The preview.

        Raises:
            UserError: As in ``update``.
        """
        self._require(Capability.UPDATE)
        options = UpdateOptions(Patterns(tuple(include), tuple(exclude)), prune, reread, follow_links)
        paths, listing = listed(self._updatable(), self._lock, roots, options)
        return preview(self.folder, paths, listing, options)

    def remove(self, paths: Sequence[str | Path], *, on_wait: Callable[[str], None] | None = None) -> Update:
        """Forget items and roots; the files are not touched.

        An update of a root above finds them again, unless its patterns leave them out.

        Args:
            paths: Files or folders; everything in them is forgotten.
            on_wait: See ``update``.

        Returns:
            What was done.

        Raises:
            UserError: The collection has nothing there, or another process is updating.
        """
        self._require(Capability.UPDATE)
        report, index = remove(self.folder, self.dim, [absolute(path) for path in paths], on_wait)
        if index is not None:
            self._searcher.use(index)
        return report

    def move(self, old: str | Path, new: str | Path, *, on_wait: Callable[[str], None] | None = None) -> int:
        """Record that a folder was moved, with everything in it.

        No file is opened; ids, labels, vectors and thumbnails stay.

        Args:
            old: The old path.
            new: The new path.
            on_wait: See ``update``.

        Returns:
            Number of moved images.

        Raises:
            UserError: ``new`` does not exist, nothing of ``old`` or something of ``new`` is in the collection, or
                another process is updating.
        """
        self._require(Capability.UPDATE)
        return move(self.folder, absolute(old), absolute(new), on_wait)

    def choose_index(
        self, kind: str | None = None, recall: float | None = None, *, on_wait: Callable[[str], None] | None = None
    ) -> None:
        """Choose the FAISS index for later updates; ``rebuild_index`` builds it now.

        Args:
            kind: See ``rebuild_index``.
            recall: See ``rebuild_index``.
            on_wait: See ``update``.

        Raises:
            UserError: The type is unknown, or another process is updating.
        """
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
        """Build the FAISS index again from the stored vectors. Reads no image.

        Args:
            kind: auto, flat, float16, ivf, ivf-sq8 or hnsw. Stored for later updates; None keeps the old type.
            recall: Target recall@10 of an approximate index. Stored for later updates; None keeps the old one.
            on_wait: See ``update``.

        Raises:
            UserError: The type is unknown, a stored vector is damaged, or another process is updating.
        """
        index = rebuild_index(self._store, self.dim, kind, recall, on_wait)
        if index is not None:
            self._searcher.use(index)

    def verify(self, *, on_wait: Callable[[str], None] | None = None) -> list[Finding]:
        """Check catalog, vectors, thumbnails, FAISS file and encoder against each other, and repair problems.

        The catalog itself is checked first (``mending.mend``). Images whose stored facts are damaged are forgotten, so
        that the next update reads them again. A FAISS file that does not fit is built again from the catalog.

        Args:
            on_wait: See ``update``.

        Returns:
            Each problem with its repair.

        Raises:
            UserError: The encoder is damaged, or nothing can be read.
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
        """Repair what prevents a collection from being opened. ``verify`` does this too, and checks the rest.

        Args:
            path: The collection's folder.
            on_wait: See ``update``.

        Returns:
            Each problem with its repair.

        Raises:
            UserError: Nothing can be read.
        """
        return mend(absolute(path), on_wait)

    def _reopen(self) -> None:
        """Open the catalog again, because mending may have replaced the file."""
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
