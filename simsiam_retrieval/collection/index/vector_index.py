"""The FAISS index of a collection: a cache next to the catalog, named after the generation it was built from."""

import threading
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from ...core.memory import free_memory
from . import index_file
from .first_pass import FirstPass
from .flat_file import values_of
from .index_types import build, innermost, kind_of, removes, stored_ids
from .product_search import by_product

# with FAISS's default limits, batches of ten to two hundred queries are up to seven times slower
faiss.cvar.distance_compute_blas_threshold = 1
faiss.cvar.distance_compute_blas_query_bs = 1024
faiss.cvar.distance_compute_blas_database_bs = 8192  # times 1024 queries: 32 MB

RESCORED = 4  # times as many candidates are compared again where an index holds rounded vectors
ROUNDED_FROM = 4_000_000  # values in all vectors, from which a search of int8 copies first is faster
FEW = 4  # queries that are searched one by one
GATHERED = 0.05  # part of the vectors up to which those that a filter leaves are copied and compared


class VectorIndex:
    """Inner-product search over unit vectors, exact or approximate. Thread-safe on a CPU.

    Args:
        index: FAISS's index.
        generation: Its generation.
    """

    mapped = False  # whether its lists stay on the disk, and a search in it takes a filter

    def __init__(self, index: faiss.Index, generation: int) -> None:
        self._index = index
        self.generation = generation
        self._rounded: FirstPass | None = None
        self._asked = False
        self._ascending: bool | None = None  # whether ids are, in the index's own order
        self._rounding = threading.Lock()

    @classmethod
    def build(
        cls, ids: NDArray[np.int64], vectors: NDArray[np.float32], generation: int, kind: str = "flat"
    ) -> "VectorIndex":
        """Build an index.

        Args:
            ids: int64 (n,).
            vectors: Unit vectors, float32 (n, dim).
            generation: The generation.
            kind: Type of ``index_types``, not "auto".

        Returns:
            The index.
        """
        return cls(build(kind, ids, vectors), generation)

    @classmethod
    def load(cls, folder: Path, generation: int, seal: str | None = None) -> "VectorIndex | None":
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
    def load_newest(cls, folder: Path) -> "VectorIndex | None":
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
        return self._index.ntotal

    @property
    def faiss_index(self) -> faiss.Index:
        """FAISS's own object, for tuning and for the GPU."""
        return self._index

    @property
    def kind(self) -> str:
        """Its type, by the names of ``index_types``."""
        return kind_of(self._index)

    @property
    def exact(self) -> bool:
        """Whether a search compares the query with every stored vector."""
        return self.kind == "flat"

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
        return stored_ids(self._index)

    def holds(self, ids: NDArray[np.int64], dim: int) -> bool:
        """Return whether the index contains exactly these ids.

        Args:
            ids: int64 (n,), ascending.
            dim: Values per vector.

        Returns:
            True if it does.
        """
        if self._index.d != dim or self._index.ntotal != len(ids):
            return False
        if not isinstance(self._index, faiss.IndexIDMap2 | faiss.IndexIVF):
            return False
        return np.array_equal(np.sort(self.ids), ids)

    def vectors(self, ids: list[int]) -> NDArray[np.float32]:
        """Return stored vectors; of a rounded index, rounded.

        Args:
            ids: The ids; all must be in the index.

        Returns:
            float32 (n, dim).
        """
        if isinstance(self._index, faiss.IndexIVF):
            maps = faiss.DirectMap  # pyright: ignore[reportAttributeAccessIssue]
            if self._index.direct_map.type == maps.NoMap:
                self._index.set_direct_map_type(maps.Hashtable)
        return self._index.reconstruct_batch(np.array(ids, np.int64))

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
        kept = np.isin(self.ids, ids, assume_unique=True).sum()
        added = len(ids) - kept
        return (kept == len(self) or removes(kind)) and added + len(self) - kept < kept // 2

    def become(
        self, generation: int, removed: NDArray[np.int64], added: NDArray[np.int64], vectors: NDArray[np.float32]
    ) -> "VectorIndex":
        """Update this index to another generation. This object must not be used any more.

        Args:
            generation: The generation.
            removed: Ids to remove.
            added: Ids to add, int64 (n,).
            vectors: Their unit vectors, float32 (n, dim).

        Returns:
            The new index.
        """
        if len(removed):
            self._index.remove_ids(faiss.IDSelectorBatch(removed))
        if len(added):
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
        k = min(k, len(self) if among is None else len(among))
        if k == 0:
            return np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64)
        few = len(queries) == 1 or among is not None or (len(queries) <= FEW and self._rounded is not None)
        if self.exact and few:  # FAISS is slow with a filter, and a batch pays from six queries on
            found = [self._one_exactly(query, k, among) for query in np.ascontiguousarray(queries, np.float32)]
            if len({ids.shape for _, ids in found}) == 1:  # else a stored vector is not finite
                return np.concatenate([scores for scores, _ in found]), np.concatenate([ids for _, ids in found])
        parameters = selector = None
        if among is not None:
            selector = faiss.IDSelectorBatch(among)  # must live as long as the search
            parameters = faiss.SearchParameters()
            if isinstance(self._index, faiss.IndexIVF):
                parameters = faiss.SearchParametersIVF()
                parameters.nprobe = self._index.nlist
            parameters.sel = selector
        scores, ids = self._index.search(np.ascontiguousarray(queries, np.float32), k, params=parameters)
        return np.clip(scores, -1, 1), ids  # rounding can give a cosine above 1

    def _one_exactly(
        self, query: NDArray[np.float32], k: int, among: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Exact search for one query (dim,); equal vectors are sorted by id.

        FAISS uses one thread for a single query; numpy's BLAS and the first pass use all.
        """
        assert isinstance(self._index, faiss.IndexIDMap2)
        stored = self._stored()
        names = faiss.rev_swig_ptr(self._index.id_map.data(), len(stored))  # ``ids`` would copy all ids for a few
        rows = allowed = None
        if among is not None:
            rows = self._rows_of(names, among)
            k = min(k, len(rows))
            if k == 0:
                return np.zeros((1, 0), np.float32), np.zeros((1, 0), np.int64)
        few = rows is not None and len(rows) <= GATHERED * len(stored)
        first_pass = None if few else self._first_pass()
        if first_pass is not None and rows is not None:
            allowed = np.zeros(len(stored), np.bool_)
            allowed[rows] = True
        found = None if first_pass is None else first_pass.nearest(query, k, allowed)
        if found is None:
            found = by_product(stored, rows, query, k)
        scores, best = found
        return np.clip(scores, -1, 1).astype(np.float32)[None], names[best][None]

    def _rows_of(self, names: NDArray[np.int64], among: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where the ids ``among`` are in ``names`` (n,), ascending; those that are not there are left out."""
        if self._ascending is None:
            self._ascending = bool((names[1:] > names[:-1]).all())
        if not self._ascending:
            return np.flatnonzero(np.isin(names, among, assume_unique=True))
        rows = np.minimum(np.searchsorted(names, among), len(names) - 1)
        return rows[names[rows] == among]

    def _stored(self) -> NDArray[np.float32]:
        """The vectors of an exact index (n, dim), without a copy."""
        flat = innermost(self._index)
        assert isinstance(flat, faiss.IndexFlatIP)
        return values_of(flat)

    def _first_pass(self) -> FirstPass | None:
        """int8 copies, made for the second query: making them takes as long as about 20 queries by product."""
        if self._rounded is None and len(self) * self._index.d >= ROUNDED_FROM:
            if not self._asked:
                self._asked = True
            elif self._rounding.acquire(blocking=False):  # who comes meanwhile goes without
                try:
                    if self._rounded is None and len(self) * self._index.d <= free_memory() // 2:
                        self._rounded = FirstPass(self._stored())
                finally:
                    self._rounding.release()
        return self._rounded
