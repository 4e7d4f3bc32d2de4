"""What there is to know of a sharded collection at a glance: sums that its catalog keeps, not a walk over all rows."""

from collections import Counter
from pathlib import Path

from ..core.paths import is_missing
from ..core.text import without_detail
from ..encoder.onnx_encoder import stored_features
from .collection import ENCODER_FILE, Collection
from .index import shard_parts
from .index.make_index import measured, recorded_settings
from .index.mapped_index import LISTS, SUFFIX, ShardIndex
from .status import Root, Status, described_reading, file_size
from .storage import shard_file
from .storage.catalog import FILE, Catalog, explained
from .storage.shard_catalog import ShardCatalog
from .update.patterns import Patterns


def read_sharded_status(folder: Path) -> Status:
    """As :func:`..status.read_status`; nothing is changed, and no shard is read but a sample of vectors."""
    with Collection.open(folder) as collection, explained(collection.folder):
        catalog = Catalog.open(collection.folder)
        assert isinstance(catalog, ShardCatalog)
        try:
            with catalog.snapshot():
                generation, failures, count = catalog.generation(), catalog.failures(), catalog.count()
                shards = [shard for shard in catalog.shards() if shard.generation <= generation]
                sources, waiting = catalog.images_of_sources(), catalog.waiting()
            index = ShardIndex.load(collection.folder, generation)
            if index is None:
                kind = "missing or damaged; run --rebuild-index"
            else:
                kind = index.kind if len(index) == count else "does not match; run --rebuild-index"
            return Status(
                folder=collection.folder,
                images=count,
                failures=failures,
                reasons=Counter(without_detail(reason) for _, reason in failures).most_common(),
                waiting=waiting,
                roots=[
                    Root(Path(source), images, Patterns(), "://" in source or not is_missing(Path(source)))
                    for source, images in sources.items()
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
                sizes=_sizes(collection.folder),
                shards=len(shards),
                reading=described_reading(catalog),
            )
        finally:
            catalog.close()


def _sizes(folder: Path) -> dict[str, int | None]:
    files = [FILE, ENCODER_FILE, *sorted(file.name for s in (SUFFIX, LISTS) for file in folder.glob(f"index-*.{s}"))]
    found: dict[str, int | None] = {name: file_size(folder / name) for name in files}
    for name in (shard_file.FOLDER, shard_parts.FOLDER):
        found[f"{name}/"] = sum(file_size(file) or 0 for file in (folder / name).glob("*"))
    return found
