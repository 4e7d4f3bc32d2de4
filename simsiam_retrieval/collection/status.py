"""What there is to know of a collection at a glance."""

import contextlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..core.paths import is_missing
from ..core.text import without_detail
from ..encoder.find_encoder import stored_features
from ..images.reading import Reading
from .collection import Collection
from .creation import ENCODER_FILE
from .index import shard_parts
from .index.make_index import load_index, measured, recorded_settings
from .index.mapped_index import LISTS, SUFFIX, ShardIndex
from .index.tuning import Measured
from .regions.region_index import has_regions, load_region_index, region_measured
from .storage import shard_file
from .storage.catalog_file import FILE, explained
from .storage.opening import open_store
from .storage.parquet_store import ParquetStore
from .storage.sqlite_store import SqliteStore
from .storage.store import Store
from .update.patterns import Patterns


@dataclass(frozen=True)
class Root:
    """A folder that was indexed."""

    path: Path
    images: int  # usable, at or below it
    patterns: Patterns
    present: bool  # on the disk now


@dataclass(frozen=True)
class Status:
    """A collection at a glance."""

    folder: Path
    images: int
    failures: list[tuple[Path, str]]
    reasons: list[tuple[str, int]]  # why files cannot be used, the most frequent first
    waiting: int  # rows of an update that was interrupted; the next one publishes them
    roots: list[Root]
    encoder: str  # identity
    encoder_source: str | None  # on the Hub, with the commit
    features: str | None  # what its vectors are made of; None where its file is gone
    dim: int
    generation: int
    schema: int
    index: str  # FAISS type, or why there is none
    chosen: str  # the type that was asked for
    measured: Measured | None  # of an approximate index
    noise_level: float | None
    sizes: dict[str, int | None]  # file -> bytes, None where it is missing
    shards: int | None = None  # of a sharded collection
    reading: dict[str, str] = field(default_factory=dict)  # options of how files are read, where not the default
    regions: "RegionStatus | None" = None  # of a collection with regions


@dataclass(frozen=True)
class RegionStatus:
    """The regions of a collection at a glance."""

    images: int  # whose regions are stored
    regions: int
    index: str  # FAISS type, or why there is none
    measured: Measured | None  # of an approximate index


def read_status(folder: Path) -> Status:
    """Read the status of a collection; nothing is changed.

    For a sharded collection it is read from sums that the catalog keeps, without a walk over all rows.

    Args:
        folder: The collection's folder.

    Returns:
        The status.

    Raises:
        UserError: It is no collection, or damaged.
    """
    with Collection.open(folder) as collection, explained(collection.folder):
        folder = collection.folder
        with contextlib.closing(open_store(folder)) as store:
            with store.snapshot():
                generation, failures, count, waiting = (
                    store.generation(), store.failures(), store.count(), store.waiting()
                )  # fmt: skip
                plain = isinstance(store, SqliteStore)
                shards = None if plain else sum(shard.generation <= generation for shard in store.shards())
                roots = _roots(store) if plain else _sources(store)
                kind = _index(store, generation, collection.dim) if plain else ""
            if not plain:  # outside the snapshot: a build need not wait until its file is opened
                kind = _mapped_index(store, generation, count)
            return Status(
                folder=folder,
                images=count,
                failures=failures,
                reasons=Counter(without_detail(reason) for _, reason in failures).most_common(),
                waiting=waiting,
                roots=roots,
                encoder=collection.encoder_identity,
                encoder_source=store.noted("encoder_source"),
                features=stored_features(folder / ENCODER_FILE),
                dim=collection.dim,
                generation=generation,
                schema=store.schema(),
                index=kind,
                chosen=recorded_settings(store).kind,
                measured=measured(store),
                noise_level=collection.noise_level,
                sizes=_sizes(folder, ("index-*.faiss", "regions-*.faiss")) if plain else _sizes_of_shards(folder),
                shards=shards,
                reading=_described_reading(store),
                regions=_regions(store) if isinstance(store, SqliteStore) and has_regions(store) else None,
            )


def _regions(store: SqliteStore) -> RegionStatus:
    with store.one_state():
        counts = store.region_counts()
        index = load_region_index(store)
        kind = "no file (built when needed)" if index is None else index.kind
        return RegionStatus(len(counts), sum(count for _, count in counts), kind, region_measured(store))


def _described_reading(store: Store) -> dict[str, str]:
    """Range, bands, channels and pages of a collection, by the names of the options, where they are not the default."""
    said = Reading.of(store.noted("reading")).described()
    pages = store.noted("pages")
    return said if pages is None else said | {"pages": pages}


def _roots(store: SqliteStore) -> list[Root]:
    selection, paths = store.selection(), store.roots()
    images, wanted = Counter[Path](), set(paths)
    images.update(path for path in paths if store.item_at(path) is not None)  # a root may be an image
    for (folder, _), count in store.folder_counts(0).items():  # far fewer than images
        images.update(dict.fromkeys(wanted.intersection((folder, *folder.parents)), count))
    return [Root(path, images[path], selection.by_root.get(path, Patterns()), not is_missing(path)) for path in paths]


def _sources(store: ParquetStore) -> list[Root]:
    return [
        Root(Path(source), images, Patterns(), "://" in source or not is_missing(Path(source)))
        for source, images in store.images_of_sources().items()
    ]


def _index(store: SqliteStore, generation: int, dim: int) -> str:
    index = load_index(store, generation)
    if index is None:
        return "no file (built when needed)"
    return index.kind if index.holds(store.ids(), dim) else "does not match; run --verify"


def _mapped_index(store: ParquetStore, generation: int, count: int) -> str:
    index = ShardIndex.load(store.folder, generation)
    if index is None:
        return "missing or damaged; run --rebuild-index"
    return index.kind if len(index) == count else "does not match; run --rebuild-index"


def _sizes(folder: Path, indexes: Iterable[str]) -> dict[str, int | None]:
    files = [FILE, ENCODER_FILE, *sorted(file.name for pattern in indexes for file in folder.glob(pattern))]
    return {name: _size(folder / name) for name in files}


def _sizes_of_shards(folder: Path) -> dict[str, int | None]:
    found = _sizes(folder, (f"index-*.{SUFFIX}", f"index-*.{LISTS}"))
    for name in (shard_file.FOLDER, shard_parts.FOLDER):
        found[f"{name}/"] = sum(_size(file) or 0 for file in (folder / name).glob("*"))
    return found


def _size(file: Path) -> int | None:
    """Bytes of a file; None where it cannot be asked."""
    try:
        return file.stat().st_size
    except OSError:
        return None
