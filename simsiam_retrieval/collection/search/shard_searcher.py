"""Searching a sharded collection: candidates from the mapped index, exact cosines from the shards."""

import numpy as np
from numpy.typing import NDArray

from ...core.errors import UserError
from ..index.mapped_index import DamagedLists, ShardIndex, index_hash
from ..index.vector_index import VectorIndex
from ..storage.catalog import explained
from ..storage.shard_catalog import ShardCatalog
from .filters import Filter
from .searcher import Searcher

EXACT_UP_TO = 100_000  # images that a filter leaves; of more the index finds the nearest, and might miss one


class ShardSearcher(Searcher):
    """Search for unit vectors in a sharded collection. Many threads may share it."""

    _catalog: ShardCatalog

    def index(self) -> VectorIndex:
        """The mapped index of the published generation.

        Raises :class:`UserError` where it is missing or damaged: to search without would read all vectors.
        """
        with self._lock, explained(self._catalog.folder):
            while self._index is None or self._index.generation != self._catalog.generation():
                generation = self._catalog.generation()
                found: VectorIndex | None = ShardIndex.load(
                    self._catalog.folder,
                    generation,
                    index_hash(self._catalog, generation),
                    self._catalog.list_seals(generation),
                )
                count = self._catalog.count()
                if generation != self._catalog.generation():
                    continue  # a build was published meanwhile, and took that index away
                if count == 0:
                    found = VectorIndex.build(np.zeros(0, np.int64), np.zeros((0, self._dim), np.float32), generation)
                if found is None or len(found) != count:
                    raise self._damaged()
                self._index = found
            return self._index

    def _among(self, where: Filter) -> NDArray[np.int64]:
        return self._catalog.ids_where(where)

    def _scores(
        self, index: VectorIndex, queries: NDArray[np.float32], k: int, among: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        if among is not None and len(among) <= EXACT_UP_TO:
            return self._exactly(queries, k, among)
        if not isinstance(index, ShardIndex):  # of an empty collection
            return index.search(queries, k)
        try:
            scores, ids = index.search(queries, k * index.rescored, among)
        except DamagedLists:
            raise self._damaged() from None
        return self._rescored(queries, ids, k) if index.rounded else (scores, ids)

    def _damaged(self) -> UserError:
        return UserError(
            f"{self._catalog.folder}: its index is missing or damaged; build it again: "
            "python -m simsiam_retrieval.index --rebuild-index --collection PATH"
        )

    def _vectors_of(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        with self._lock, explained(self._catalog.folder), self._catalog.snapshot():
            return self._catalog.vectors_there(ids[ids >= 0], self._dim)
