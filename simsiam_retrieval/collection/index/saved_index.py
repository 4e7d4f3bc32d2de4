"""The saved index of a collection, of the kind that its store has."""

from ..storage.parquet_store import ParquetStore
from ..storage.store import Store
from .make_index import load_index
from .mapped_index import ShardIndex, index_hash
from .vector_index import VectorIndex


def saved_index(store: Store, generation: int, dim: int) -> VectorIndex | None:
    """The index file of this generation; None where it is missing, damaged, or of other images than the store's."""
    if isinstance(store, ParquetStore):
        mapped = ShardIndex.load(store.folder, generation, index_hash(store, generation), store.list_seals(generation))
        return mapped if mapped is not None and len(mapped) == store.count() else None
    found = load_index(store, generation)
    return found if found is not None and found.holds(store.ids(), dim) else None
