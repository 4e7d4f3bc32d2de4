"""What there is to know of a collection at a glance."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from ..core.text import without_detail
from ..encoder.onnx_encoder import stored_features
from ..images.reading import Reading
from .collection import ENCODER_FILE, Collection
from .index.make_index import load_index, measured, recorded_settings
from .index.tuning import Measured
from .storage.catalog import FILE, Catalog
from .storage.shard_manifest import is_sharded
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


def read_status(folder: Path) -> Status:
    """The status of the collection in ``folder``; nothing is changed.

    Raises :class:`UserError` when there is none, or it is damaged.
    """
    from ..core.paths import is_missing
    from .shard_status import read_sharded_status
    from .storage.catalog import explained

    if is_sharded(folder):
        return read_sharded_status(folder)
    with Collection.open(folder) as collection, explained(collection.folder):
        catalog = Catalog.open(collection.folder)
        try:
            with catalog.snapshot():
                generation, failures = catalog.generation(), catalog.failures()
                selection, paths = catalog.selection(), catalog.roots()
                images = Counter[Path]()
                wanted = set(paths)
                for item in catalog.items():
                    images.update(wanted.intersection((item.path, *item.path.parents)))
                count, waiting = catalog.count(), catalog.waiting()
                index = load_index(catalog, generation)
                if index is None:
                    kind = "no file (built when needed)"
                else:
                    kind = index.kind if index.holds(catalog.ids(), collection.dim) else "does not match; run --verify"
            files = [FILE, ENCODER_FILE, *sorted(file.name for file in collection.folder.glob("index-*.faiss"))]
            return Status(
                folder=collection.folder,
                images=count,
                failures=failures,
                reasons=Counter(without_detail(reason) for _, reason in failures).most_common(),
                waiting=waiting,
                roots=[
                    Root(path, images[path], selection.by_root.get(path, Patterns()), not is_missing(path))
                    for path in paths
                ],
                encoder=collection.encoder_identity,
                encoder_source=catalog.noted("encoder_source"),
                features=stored_features(collection.folder / ENCODER_FILE),
                dim=collection.dim,
                generation=generation,
                schema=catalog.schema(),
                index=kind,
                chosen=recorded_settings(catalog).kind,
                measured=measured(catalog),
                noise_level=collection.noise_level,
                sizes={name: file_size(collection.folder / name) for name in files},
                reading=described_reading(catalog),
            )
        finally:
            catalog.close()


def described_reading(catalog: Catalog) -> dict[str, str]:
    """Range, bands, channels and pages of a collection, by the names of the options, where they are not the default."""
    said = Reading.of(catalog.noted("reading")).described()
    pages = catalog.noted("pages")
    return said if pages is None else said | {"pages": pages}


def file_size(file: Path) -> int | None:
    """Bytes of a file; None where it cannot be asked."""
    try:
        return file.stat().st_size
    except OSError:
        return None
