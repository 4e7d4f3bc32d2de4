"""The FAISS index of a collection: a cache beside the catalog, named after the generation it was built from."""

from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from ..files import replacing


class VectorIndex:
    """Exact inner-product search over unit vectors. CPU FAISS: many threads may search at once."""

    def __init__(self, index: faiss.Index, generation: int) -> None:
        self._index = index
        self.generation = generation

    @classmethod
    def build(cls, ids: NDArray[np.int64], vectors: NDArray[np.float32], generation: int) -> "VectorIndex":
        """Index ``vectors`` (n, dim) under ``ids`` (n,)."""
        index = faiss.IndexIDMap2(faiss.IndexFlatIP(vectors.shape[1]))
        index.add_with_ids(vectors, ids)
        return cls(index, generation)

    @classmethod
    def load(cls, folder: Path, generation: int) -> "VectorIndex | None":
        """The cached index of this generation, or None when it is not there or damaged."""
        try:
            return cls(faiss.read_index(str(_file(folder, generation))), generation)
        except RuntimeError:
            return None

    def save(self, folder: Path) -> None:
        """Write the cache and remove those of other generations."""
        file = _file(folder, self.generation)
        with replacing(file) as temporary:
            faiss.write_index(self._index, str(temporary))
        for old in folder.glob("index-*.faiss"):
            if old != file:
                old.unlink(missing_ok=True)

    def __len__(self) -> int:
        return self._index.ntotal

    def search(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Cosine similarities and ids, each (n, min(k, len)), best first, for unit ``queries`` (n, dim)."""
        k = min(k, len(self))
        if k == 0:
            return np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64)
        return self._index.search(np.ascontiguousarray(queries, np.float32), k)


def _file(folder: Path, generation: int) -> Path:
    return folder / f"index-{generation}.faiss"
