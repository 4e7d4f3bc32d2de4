"""Building the index again, and checking everything that is stored, of either kind of store."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from ..core.errors import UserError
from ..encoder.onnx_encoder import Encoder
from .creation import tidy
from .index import index_file
from .index.build_shard_index import build
from .index.make_index import INDEX_SEAL, make_index, record_settings, recorded_settings, seal_index
from .index.mapped_index import ShardIndex, hashes_of
from .index.vector_index import VectorIndex
from .regions.region_index import damaged_region_index, is_current, make_region_index
from .storage import shard_file, shard_parquet_reader
from .storage.catalog_file import ENCODER_FILE, FILE, explained
from .storage.finding import Finding
from .storage.mending import mend
from .storage.opening import open_store, open_to_update
from .storage.parquet_reads import Shard
from .storage.parquet_store import ParquetStore
from .storage.shard_reader import footer_identity
from .storage.store import Store
from .storage.verification import CHANGED, REREAD, damaged_items, index_problem
from .storage.writer_lock import writing


def rebuild_index(
    store: Store, dim: int, kind: str | None, recall: float | None, on_wait: Callable[[str], None] | None
) -> VectorIndex | None:
    """Build the index again from the stored vectors; of a sharded collection, with the shards that are there now.

    Args:
        store: The store.
        dim: Values per vector.
        kind: See ``Collection.rebuild_index``.
        recall: See ``Collection.rebuild_index``.
        on_wait: See ``Collection.update``.

    Returns:
        The new index; None if it lies on the disk and is opened by the next search.

    Raises:
        UserError: As in ``Collection.rebuild_index``.
    """
    folder = store.folder
    if isinstance(store, ParquetStore):
        build(folder, kind=kind, recall=recall, on_wait=on_wait)
        return None
    with (
        writing(folder, on_wait),
        explained(folder),
        contextlib.closing(open_to_update(folder)) as catalog,
    ):
        record_settings(catalog, kind, recall)
        catalog.round_vectors(dim)
        return make_index(catalog, dim, anew=True)


def verify(
    folder: Path, dim: int, encoder: Callable[[], Encoder], on_wait: Callable[[str], None] | None
) -> tuple[list[Finding], VectorIndex | None]:
    """Compare all that is stored of a plain collection; see ``Collection.verify``.

    Args:
        folder: The collection's folder.
        dim: Values per vector.
        encoder: Returns the collection's encoder; raises if it is not the one that made the vectors.
        on_wait: See ``Collection.update``.

    Returns:
        Each problem with its repair, and the new index if one was made.

    Raises:
        UserError: As in ``Collection.verify``.
    """
    with (
        writing(folder, on_wait),
        explained(folder),
        contextlib.closing(open_to_update(folder)) as catalog,
    ):
        tidy(folder)
        encoder()  # raises where it is not the one that made the vectors
        generation = catalog.generation()
        index = VectorIndex.load(folder, generation)
        problem = index_problem(index, catalog, dim)
        sealed = catalog.noted_json(INDEX_SEAL)
        believed = sealed in (None, [generation, index_file.seal_of(folder, generation)])
        witness = index if problem is None else None
        found, wrong_copies = damaged_items(catalog, dim, witness, believed=believed)
        known = {finding.subject for finding in found}
        found += [Finding(path, CHANGED, REREAD) for path in catalog.damaged_rows().values() if path not in known]
        if wrong_copies:
            problem = f"{wrong_copies} of its vectors {'is' if wrong_copies == 1 else 'are'} not the catalog's"
        elif problem is None and not believed:
            problem = "it does not fit its checksum"
        if found:
            catalog.publish([finding.subject for finding in found], [])
        catalog.seal()
        if problem is not None:
            file = folder / f"index-{generation}.faiss"
            found.append(Finding(file, problem, "built again from the catalog"))
        if (damaged := damaged_region_index(catalog)) is not None:
            found.append(Finding(damaged, "missing or damaged", "built again from the catalog"))
        rebuilt = make_index(catalog, dim, anew=True) if found else None
        if not found and catalog.noted(INDEX_SEAL) is None and (seal := index_file.seal_of(folder, generation)):
            seal_index(catalog, generation, seal)  # an older version's, found to be right
        if not is_current(catalog):
            make_region_index(catalog, dim, recorded_settings(catalog).recall)
        return found, rebuilt


def verify_shards(folder: Path, identity: str, on_wait: Callable[[str], None] | None) -> list[Finding]:
    """Read every shard against its checksums, and compare catalog and index with them.

    Rows of the catalog that are not what a sound shard says are put right; the rest is named.

    Args:
        folder: The collection's folder.
        identity: Identity of its encoder.
        on_wait: See ``Collection.update``.

    Returns:
        Each problem with its repair.

    Raises:
        UserError: The catalog's own pages, or the encoder, are damaged.
    """
    mended = mend(folder, on_wait)
    with (
        writing(folder, on_wait),
        explained(folder),
        contextlib.closing(open_store(folder)) as store,
    ):
        assert isinstance(store, ParquetStore)
        if Encoder(folder / ENCODER_FILE, device="cpu").identity != identity:
            raise UserError(f"{folder}: not the encoder that made this collection; put that one back")
        found = mended
        if strays := store.remove_strays():
            found.append(Finding(folder / FILE, f"{strays} rows belonged to no shard", "removed"))
        again = "put it back, or delete it, embed its images again and build"
        for shard in store.shards():
            file = shard_file.shard_file(folder, shard.name)
            try:
                if footer_identity(file)[1] != shard.identity:
                    found.append(Finding(file, "not the shard that was built", "left; build again"))
                else:
                    shard_parquet_reader.check(file)
                    found += _compared(store, shard, file)
            except UserError as error:
                problem = str(error).removeprefix(f"{file}: ").partition(";")[0]
                found.append(Finding(file, problem, f"left; {again}"))
        generation = store.generation()
        sealed = store.noted_json(INDEX_SEAL)
        file = folder / f"index-{generation}.faiss"
        if sealed not in (None, [generation, *hashes_of(folder, generation)]):
            found.append(Finding(file, "it or the file of its lists does not fit its checksum", "left; build again"))
        elif (count := store.count()) != _indexed(store):
            found.append(Finding(file, f"missing, damaged, or not of {count} images", "left; build again"))
        return found


def _compared(store: ParquetStore, shard: Shard, file: Path) -> Iterator[Finding]:
    """Compare the catalog's rows of a shard with the shard itself, which is sound, and put them right."""
    rows = [row for group in shard_parquet_reader.read_rows(file) for row in group]
    places = [place for place, _ in shard_parquet_reader.read_places(file)]
    differing = store.differing_rows(shard, rows, places)
    if differing or not store.sealed(shard):
        store.fill([(shard, rows, places)])
    if differing:
        yield Finding(store.folder / FILE, f"{differing} rows differ from those of shard {file.name}", "put right")


def _indexed(store: ParquetStore) -> int | None:
    generation = store.generation()
    index = ShardIndex.load(store.folder, generation, seals=store.list_seals(generation))
    return None if index is None or not index.holds_sound_lists() else len(index)
