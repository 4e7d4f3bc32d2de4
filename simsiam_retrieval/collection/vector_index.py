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
            with _file(folder, generation).open("rb") as file:
                # through Python's file: FAISS itself cannot open names that are not UTF-8
                reader = faiss.PyCallbackIOReader(file.read)  # pyright: ignore[reportAttributeAccessIssue]
                return cls(faiss.read_index(reader), generation)
        except (OSError, RuntimeError):
            return None

    @staticmethod
    def saved(folder: Path, generation: int) -> bool:
        """Whether there is a cache of this generation; an update that was killed may leave none."""
        return _file(folder, generation).exists()

    def save(self, folder: Path) -> None:
        """Write the cache and remove those of other generations, and what a killed writer left of one."""
        file = _file(folder, self.generation)
        with replacing(file) as temporary, temporary.open("wb") as stream:
            writer = faiss.PyCallbackIOWriter(stream.write)  # pyright: ignore[reportAttributeAccessIssue]
            faiss.write_index(self._index, writer)
        for old in folder.glob("index-*.faiss"):
            if old != file:
                old.unlink(missing_ok=True)
        for unfinished in folder.glob(".index-*.tmp"):
            unfinished.unlink(missing_ok=True)

    def __len__(self) -> int:
        return self._index.ntotal

    def holds(self, ids: NDArray[np.int64], dim: int) -> bool:
        """Whether it was built from these ids, in this order, with vectors of ``dim`` values."""
        if self._index.d != dim or not isinstance(self._index, faiss.IndexIDMap2):
            return False
        return np.array_equal(faiss.vector_to_array(self._index.id_map), ids)

    @property
    def kind(self) -> str:
        """Its FAISS type."""
        inner = faiss.downcast_index(self._index.index) if isinstance(self._index, faiss.IndexIDMap2) else self._index
        return type(inner).__name__

    def vectors(self, ids: list[int]) -> NDArray[np.float32]:
        """The vectors it holds of ``ids`` (n,), which it must hold: (n, dim)."""
        return self._index.reconstruct_batch(np.array(ids, np.int64))

    def search(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Cosine similarities and ids, each (n, min(k, len)), best first, for unit ``queries`` (n, dim)."""
        k = min(k, len(self))
        if k == 0:
            return np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64)
        scores, ids = self._index.search(np.ascontiguousarray(queries, np.float32), k)
        return np.clip(scores, -1, 1), ids  # rounding can carry a cosine past 1


def _file(folder: Path, generation: int) -> Path:
    return folder / f"index-{generation}.faiss"
