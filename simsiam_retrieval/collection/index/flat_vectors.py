"""An exact index: ids and unit vectors as arrays. FAISS is only imported for batches and for the int8 copies."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...core.memory import free_memory
from .faiss_threads import FEW as FEW_AT_ONCE
from .faiss_threads import one_thread
from .first_pass import FirstPass
from .product_search import ROUNDING, by_product

if TYPE_CHECKING:
    import faiss
else:
    from . import faiss_when_used as faiss

ROUNDED_FROM = 4_000_000  # values in all vectors, from which a search of int8 copies first is faster
FEW = 4  # queries that are searched one by one
MORE = 8  # results beyond those wanted that are compared again, so that of equal scores the first ids are taken
COMPARED = 1 << 20  # values that are compared again at once
GATHERED = 0.05  # part of the vectors up to which those that a filter leaves are copied and compared

Found = tuple[NDArray[np.float32], NDArray[np.int64]]


class FlatVectors:
    """Vectors that a search compares one and all. Many threads may share it.

    Args:
        ids: int64 (n,), each once.
        vectors: Unit vectors, float32 (n, dim). Kept, not copied.
    """

    def __init__(self, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        self.ids = np.ascontiguousarray(ids, np.int64)
        self.vectors = np.ascontiguousarray(vectors, np.float32)
        self._ascending = bool((self.ids[1:] > self.ids[:-1]).all())
        self._rounded: FirstPass | None = None
        self._asked = False
        self._rounding = threading.Lock()

    @classmethod
    def of(cls, index: faiss.Index) -> FlatVectors | None:
        """Take the vectors of FAISS's exact index, which older versions stored.

        Args:
            index: The index.

        Returns:
            Its vectors; None for another type.
        """
        if not isinstance(index, faiss.IndexIDMap2):
            return None
        flat = faiss.downcast_index(index.index)
        if not isinstance(flat, faiss.IndexFlatIP):
            return None
        vectors = flat.reconstruct_n(0, flat.ntotal) if flat.ntotal else np.empty((0, flat.d), np.float32)
        return cls(faiss.vector_to_array(index.id_map), vectors)

    def as_faiss(self) -> faiss.IndexIDMap2:
        """Copy the vectors into FAISS's exact index.

        Returns:
            The index.
        """
        index = faiss.IndexIDMap2(faiss.IndexFlatIP(self.dim))
        index.add_with_ids(self.vectors, self.ids)
        return index

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def dim(self) -> int:
        """Values per vector."""
        return self.vectors.shape[1]

    def of_ids(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return vectors.

        Args:
            ids: int64 (n,); all must be in the index.

        Returns:
            float32 (n, dim).
        """
        order = None if self._ascending else np.argsort(self.ids)
        rows = np.searchsorted(self.ids, ids, sorter=order)
        return self.vectors[rows if order is None else order[rows]]

    def search(self, queries: NDArray[np.float32], k: int, among: NDArray[np.int64] | None = None) -> Found:
        """Search exactly.

        Args:
            queries: float32 (n, dim).
            k: Number of results, at least 1 and at most the number of vectors to search.
            among: Only these ids, int64 (m,), ascending.

        Returns:
            Inner products and ids, each (n, k), best first; those of equal scores by id.
            Ids are -1 where a vector is not finite, and there are fewer columns if ``among`` names missing ids.
        """
        few = len(queries) == 1 or among is not None or (len(queries) <= FEW and self._rounded is not None)
        if not few:  # a batch pays from six queries on
            return self._batch(queries, k)
        found = [self._one(query, k, among) for query in queries]
        width = max(len(ids) for _, ids in found)
        scores, ids = np.full((len(found), width), np.nan, np.float32), np.full((len(found), width), -1, np.int64)
        for row, (some_scores, some_ids) in enumerate(found):
            scores[row, : len(some_ids)], ids[row, : len(some_ids)] = some_scores, some_ids
        return scores, ids

    def _batch(self, queries: NDArray[np.float32], k: int) -> Found:
        """The best of several queries, compared again.

        FAISS has equal scores in reverse order (findings/faiss_order_of_copies.sh), and BLAS gives copies scores that
        differ in the last bit.
        """
        more = min(k + MORE, len(self))
        small = len(queries) <= FEW_AT_ONCE and self.vectors.size < ROUNDED_FROM
        with one_thread() if small else contextlib.nullcontext():
            found = faiss.knn(queries, self.vectors, more, metric=faiss.METRIC_INNER_PRODUCT)
        scores, ids = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        block = max(1, COMPARED // (more * self.dim))
        for start in range(0, len(queries), block):
            asked = queries[start : start + block]
            rough, rows = found[0][start : start + block], found[1][start : start + block]
            exact = np.einsum("qnd,qd->qn", self.vectors[rows].astype(np.float64), asked.astype(np.float64))
            exact = np.where(rows < 0, rough, exact)
            order = np.lexsort((rows, -exact), axis=1)[:, :k]
            scores[start : start + block] = np.take_along_axis(exact, order, axis=1)
            best = np.take_along_axis(rows, order, axis=1)
            ids[start : start + block] = np.where(best < 0, -1, self.ids[best])
            if more > k:  # where the last score may have still more copies
                for query in np.flatnonzero((exact[:, -1] >= exact[:, k - 1] - ROUNDING) & (rows[:, -1] >= 0)):
                    scores[start + query], ids[start + query] = self._one(asked[query], k, None)
        return scores, ids

    def _one(
        self, query: NDArray[np.float32], k: int, among: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
        """The best of one query (dim,); FAISS uses one thread for it, numpy's BLAS and the first pass use all."""
        rows = allowed = None
        if among is not None:
            rows = self._rows_of(among)
            k = min(k, len(rows))
            if k == 0:
                return np.zeros(0, np.float32), np.zeros(0, np.int64)
        few = rows is not None and len(rows) <= GATHERED * len(self)
        first_pass = None if few else self._first_pass()
        if first_pass is not None and rows is not None:
            allowed = np.zeros(len(self), np.bool_)
            allowed[rows] = True
        found = None if first_pass is None else first_pass.nearest(query, k, allowed)
        scores, best = by_product(self.vectors, rows, query, k) if found is None else found
        return scores, self.ids[best]

    def _rows_of(self, among: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where the ids ``among`` are, ascending; those that are not there are left out."""
        if not self._ascending:
            return np.flatnonzero(np.isin(self.ids, among, assume_unique=True))
        rows = np.minimum(np.searchsorted(self.ids, among), len(self) - 1)
        return rows[self.ids[rows] == among]

    def _first_pass(self) -> FirstPass | None:
        """int8 copies, made for the second query: making them takes as long as about 20 queries by product."""
        if self._rounded is None and self.vectors.size >= ROUNDED_FROM:
            if not self._asked:
                self._asked = True
            elif self._rounding.acquire(blocking=False):  # who comes meanwhile goes without
                try:
                    if self._rounded is None and self.vectors.size <= free_memory() // 2:
                        self._rounded = FirstPass(self.vectors)
                finally:
                    self._rounding.release()
        return self._rounded
