"""The index of a collection: a cache next to the catalog, named after the generation it was built from."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from . import index_file, int8_lists
from .faiss_threads import FEW, one_thread
from .flat_vectors import FlatVectors
from .index_kinds import removes
from .index_types import build, kind_of, stored_ids

if TYPE_CHECKING:
    import faiss
else:
    from . import faiss_when_used as faiss

RESCORED = 4  # times as many candidates are compared again where an index holds rounded vectors


class VectorIndex:
    """Inner-product search over unit vectors, exact or approximate. Thread-safe on a CPU.

    Args:
        index: The vectors, or FAISS's index.
        generation: Its generation.
    """

    mapped = False  # whether its lists stay on the disk, and a search in it takes a filter

    def __init__(self, index: faiss.Index | FlatVectors, generation: int) -> None:
        flat = index if isinstance(index, FlatVectors) else FlatVectors.of(index)
        self._index = index if flat is None else flat
        self.generation = generation

    @classmethod
    def build(
        cls, ids: NDArray[np.int64], vectors: NDArray[np.float32], generation: int, kind: str = "flat"
    ) -> VectorIndex:
        """Build an index.

        Args:
            ids: int64 (n,).
            vectors: Unit vectors, float32 (n, dim). An exact index keeps them.
            generation: The generation.
            kind: Type of ``index_kinds``, not "auto".

        Returns:
            The index.
        """
        return cls(FlatVectors(ids, vectors) if kind == "flat" else build(kind, ids, vectors), generation)

    @classmethod
    def load(cls, folder: Path, generation: int, seal: str | None = None) -> VectorIndex | None:
        """Load the cached index of a generation.

        Args:
            folder: The collection's folder.
            generation: The generation.
            seal: Hash from ``save``; a file that differs in one byte counts as damaged.

        Returns:
            The index; None if it is missing or damaged.
        """
        index = index_file.read(folder, generation, seal)
        return None if index is None else cls(index, generation)

    @classmethod
    def load_newest(cls, folder: Path) -> VectorIndex | None:
        """Load the cached index of the newest saved generation.

        Args:
            folder: The collection's folder.

        Returns:
            The index, or None.
        """
        generation = index_file.newest(folder)
        return None if generation is None else cls.load(folder, generation)

    def save(
        self, folder: Path, on_sealed: Callable[[str], None] = lambda seal: None, stem: str = index_file.IMAGES
    ) -> None:
        """Write the cache; delete those of other generations, and files that a killed writer left.

        Args:
            folder: The collection's folder.
            on_sealed: Called with a hash of the file before it gets its name.
            stem: Beginning of the file's name; see ``index_file``.
        """
        index_file.write(self._index, folder, self.generation, on_sealed, stem)

    def __len__(self) -> int:
        return len(self._index) if isinstance(self._index, FlatVectors) else self._index.ntotal

    @property
    def dim(self) -> int:
        """Values per vector."""
        return self._index.dim if isinstance(self._index, FlatVectors) else self._index.d

    @property
    def faiss_index(self) -> faiss.Index:
        """FAISS's own object, for tuning and for the GPU; of an exact index, a copy."""
        return self._index.as_faiss() if isinstance(self._index, FlatVectors) else self._index

    @property
    def kind(self) -> str:
        """Its type, by the names of ``index_kinds``."""
        return "flat" if isinstance(self._index, FlatVectors) else kind_of(self._index)

    @property
    def exact(self) -> bool:
        """Whether a search compares the query with every stored vector."""
        return isinstance(self._index, FlatVectors)

    @property
    def rounded(self) -> bool:
        """Whether it stores vectors with fewer bits, so that scores must be computed again."""
        return self.kind in ("float16", "ivf-sq8", "ivf-pq")

    @property
    def rescored(self) -> int:
        """How many times as many candidates are to be compared again with their vectors."""
        return RESCORED if self.rounded else 1

    @property
    def ids(self) -> NDArray[np.int64]:
        """The ids in the index, int64 (n,), in its own order."""
        return self._index.ids if isinstance(self._index, FlatVectors) else stored_ids(self._index)

    def holds(self, ids: NDArray[np.int64], dim: int) -> bool:
        """Return whether the index contains exactly these ids.

        Args:
            ids: int64 (n,), ascending.
            dim: Values per vector.

        Returns:
            True if it does.
        """
        if self.dim != dim or len(self) != len(ids):
            return False
        if not isinstance(self._index, FlatVectors) and not isinstance(self._index, faiss.IndexIDMap2 | faiss.IndexIVF):
            return False
        return np.array_equal(np.sort(self.ids), ids)

    def vectors(self, ids: list[int]) -> NDArray[np.float32]:
        """Return stored vectors; of a rounded index, rounded.

        Args:
            ids: The ids; all must be in the index.

        Returns:
            float32 (n, dim).
        """
        wanted = np.array(ids, np.int64)
        if isinstance(self._index, FlatVectors):
            return self._index.of_ids(wanted)
        if isinstance(self._index, faiss.IndexIVF):
            maps = faiss.DirectMap  # pyright: ignore[reportAttributeAccessIssue]
            if self._index.direct_map.type == maps.NoMap:
                self._index.set_direct_map_type(maps.Hashtable)
        found = self._index.reconstruct_batch(wanted)
        return found * np.float32(int8_lists.step_of(self._index)) if int8_lists.are_int8(self._index) else found

    def can_become(self, kind: str, ids: NDArray[np.int64]) -> bool:
        """Return whether updating this index is cheaper than building a new one.

        Args:
            kind: Type of the new index.
            ids: Ids of the new index.

        Returns:
            True if it is.
        """
        if self.kind != kind or kind in ("flat", "float16"):  # these types are copies of the vectors and fast to build
            return False
        if kind == "ivf-sq8" and not (isinstance(self._index, FlatVectors) or int8_lists.are_int8(self._index)):
            return False  # of an older version
        kept = np.isin(self.ids, ids, assume_unique=True).sum()
        added = len(ids) - kept
        return (kept == len(self) or removes(kind)) and added + len(self) - kept < kept // 2

    def become(
        self, generation: int, removed: NDArray[np.int64], added: NDArray[np.int64], vectors: NDArray[np.float32]
    ) -> VectorIndex:
        """Update this index to another generation; not an exact one. This object must not be used any more.

        Args:
            generation: The generation.
            removed: Ids to remove.
            added: Ids to add, int64 (n,).
            vectors: Their unit vectors, float32 (n, dim).

        Returns:
            The new index.
        """
        assert not isinstance(self._index, FlatVectors)
        if len(removed):
            self._index.remove_ids(faiss.IDSelectorBatch(removed))
        if len(added) and int8_lists.are_int8(self._index):
            int8_lists.add(self._index, added, vectors)
        elif len(added):
            self._index.add_with_ids(vectors, added)
        return VectorIndex(self._index, generation)

    def search(
        self, queries: NDArray[np.float32], k: int, among: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Search for unit vectors.

        Args:
            queries: float32 (n, dim).
            k: Number of results.
            among: Only these ids, int64 (m,), ascending. Inverted lists are then all looked into.

        Returns:
            Cosine similarities and ids, each (n, min(k, len)), best first. If fewer are found, ids are -1.
        """
        queries = np.ascontiguousarray(queries, np.float32)
        k = min(k, len(self) if among is None else len(among))
        if k == 0:
            return np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64)
        if isinstance(self._index, FlatVectors):
            scores, ids = self._index.search(queries, k, among)
            return np.clip(scores, -1, 1), ids
        parameters = selector = None
        if among is not None:
            selector = faiss.IDSelectorBatch(among)  # must live as long as the search
            parameters = faiss.SearchParameters()
            if isinstance(self._index, faiss.IndexIVF):
                parameters = faiss.SearchParametersIVF()
                parameters.nprobe = self._index.nlist
            parameters.sel = selector
        asked, unit = int8_lists.to_search(self._index, queries)
        with one_thread() if len(queries) <= FEW else contextlib.nullcontext():
            scores, ids = self._index.search(asked, k, params=parameters)
        return np.clip(scores * unit, -1, 1), ids  # rounding can give a cosine above 1
