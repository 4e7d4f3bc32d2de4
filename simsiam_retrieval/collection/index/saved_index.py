"""The saved index of a collection, of the kind that its store has."""

import sqlite3

from ..storage.parquet_store import ParquetStore
from ..storage.store import Store
from .make_index import INDEX_SEAL, load_index
from .mapped_index import ShardIndex, index_hash
from .vector_index import VectorIndex


def saved_index(store: Store, generation: int, dim: int) -> VectorIndex | None:
    """Open the index file of a generation.

    Args:
        store: The store.
        generation: The generation.
        dim: Values per vector.

    Returns:
        The index; None if it is missing, damaged, or of other images than the store's.

    Raises:
        DatabaseError: The file fits its hash, and the images of a plain store are others: rows are damaged.
    """
    if isinstance(store, ParquetStore):
        mapped = ShardIndex.load(store.folder, generation, index_hash(store, generation), store.list_seals(generation))
        return mapped if mapped is not None and len(mapped) == store.count() else None
    found = load_index(store, generation)
    if found is None or found.holds(store.ids(), dim):
        return found
    if store.noted(INDEX_SEAL) is not None and store.generation() == generation:  # else an update came between
        raise sqlite3.DatabaseError("its images are not those of its index")
    return None
