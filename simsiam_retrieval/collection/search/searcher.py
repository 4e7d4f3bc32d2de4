"""Searching one state of a collection: which index, which items, exact scores, and never a mixture of two states."""

import sqlite3
import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..index.gpu_index import placed
from ..index.make_index import alike_of, noted_noise
from ..index.mapped_index import DamagedLists
from ..index.noise_level import COPY, SAMPLE, Noise, measure_noise
from ..index.saved_index import saved_index
from ..index.vector_index import VectorIndex
from ..storage.capabilities import Capability, can, require
from ..storage.catalog_file import explained
from ..storage.store import Store
from ..types import Hit, Item
from .filters import Filter

EXACT_UP_TO = 100_000  # images that a filter leaves; of more a mapped index finds the nearest, and might miss one
CHECKED = 1_000  # rows that one search compares with their checksums, at most
BLOCK = 65_536  # vectors read at a time for an exact search past the index


class Searcher:
    """Search for unit vectors in one collection. Many threads may share it; ``lock`` guards ``store``."""

    def __init__(
        self, store: Store, dim: int, lock: threading.RLock, device: str = "cpu", *, float16: bool = False
    ) -> None:
        self._store = store
        self._device = device
        self._float16 = float16
        self._dim = dim
        self._lock = lock
        self._index: VectorIndex | None = None
        self._noise: tuple[int, Noise | None, NDArray[np.float32]] | None = None  # generation, level, sample's vectors
        self._distrusted = -1  # the generation whose saved index gave what cannot be
        self._checked: tuple[int, set[int]] = (-1, set())  # items whose rows were compared with their checksums

    def use(self, index: VectorIndex) -> None:
        """Search with an index that was just built.

        Args:
            index: The index.
        """
        with self._lock:
            self._index = placed(index, self._device, float16=self._float16)

    def read_from(self, store: Store) -> None:
        """Go on with another connection to the same collection.

        Args:
            store: The connection.
        """
        with self._lock:
            self._store, self._index, self._distrusted = store, None, -1

    def nearest(
        self,
        queries: NDArray[np.float32],
        k: int,
        where: Filter | None = None,
        without: Sequence[int] = (),
    ) -> list[list[Hit]]:
        """Find the nearest images of each query.

        Args:
            queries: Unit vectors, float32 (n, dim).
            k: Number of results.
            where: Search only images that meet this filter.
            without: Item ids to leave out.

        Returns:
            The results of each query, best first.

        Raises:
            UserError: The collection is damaged.
        """
        while True:
            index, among = self._state(where)
            levels = self.noise_levels(queries)
            scores, ids = self._scores(index, queries, k + len(without), among)
            if not _sound(index, scores, ids, k + len(without), among):
                self._distrust(index)
                continue
            with self._lock, explained(self._store.folder):
                found = np.unique(ids[ids >= 0]).tolist()
                items = self._store.items_by_id(found)
                if self._store.generation() == index.generation:
                    self._check_rows(found, index.generation)
                    break  # else an update came between: its state, not a mixture
        return [
            _hits(row, found, items, set(without), k, level)
            for row, found, level in zip(scores, ids, levels, strict=True)
        ]

    def _distrust(self, index: VectorIndex) -> None:
        """Take the index from the catalog's vectors instead; raises ``UserError`` where that was done already."""
        with self._lock, explained(self._store.folder):
            if self._store.generation() != index.generation:
                return  # an update came between
            if self._distrusted == index.generation:
                raise sqlite3.DatabaseError("a stored vector is not finite")
            self._distrusted, self._index = index.generation, None

    def _check_rows(self, ids: Sequence[int], generation: int) -> None:
        """Compare what is shown with its checksum: once an item, and ``CHECKED`` items a search."""
        if self._checked[0] != generation:
            self._checked = generation, set()
        new = [id_ for id_ in ids if id_ not in self._checked[1]][:CHECKED]
        self._store.check_rows(new)
        self._checked[1].update(new)

    def noise_level(self) -> float | None:
        """Return the noise level of a typical image.

        Returns:
            The level; None for too few images.
        """
        with self._lock, explained(self._store.folder), self._store.snapshot():
            found, noise = noted_noise(self._store, self._store.generation())
            noise = noise if found else self._measured()[0]
            return None if noise is None else noise.typical

    def noise_levels(self, queries: NDArray[np.float32]) -> list[float | None]:
        """Return the noise level of each query.

        Args:
            queries: Unit vectors, float32 (n, dim).

        Returns:
            n levels; None for too few images.
        """
        with self._lock, explained(self._store.folder), self._store.snapshot():
            noise, vectors = self._measured()
        return [None] * len(queries) if noise is None else noise.levels(queries, vectors).tolist()

    def _measured(self) -> tuple[Noise | None, NDArray[np.float32]]:
        """The published state's noise and the vectors of its sample; within a snapshot."""
        generation = self._store.generation()
        if self._noise is None or self._noise[0] != generation:
            found, noise = noted_noise(self._store, generation)
            vectors = np.zeros((0, self._dim), np.float32)
            if noise is not None or not found:
                sampled, index = self._store.sampled_ids(SAMPLE), self._index
                if index is not None and index.generation == generation and index.exact:
                    vectors = index.vectors(sampled.tolist())  # the same, in memory
                else:
                    vectors = self._store.vectors_of(sampled, self._dim)
            if not found:
                noise = measure_noise(vectors, alike_of(self._store))
            self._noise = generation, noise, vectors
        return self._noise[1:]

    def _state(self, where: Filter | None) -> tuple[VectorIndex, NDArray[np.int64] | None]:
        with self._lock, explained(self._store.folder):
            return self.index(), self._store.ids_where(where) if where else None

    def index(self) -> VectorIndex:
        """Return the index of the published generation: the one in memory, the file, or else an exact one, made now.

        Returns:
            The index.

        Raises:
            UserError: There is none, and the store is too large to make one in memory.
        """
        with self._lock, explained(self._store.folder):
            while self._index is None or self._index.generation != self._store.generation():
                generation = self._store.generation()
                found = saved_index(self._store, generation, self._dim) if self._distrusted != generation else None
                if found is None and generation != self._store.generation():
                    continue  # an update was published meanwhile, and took that index away
                if found is None:
                    if self._store.count() and not can(self._store, Capability.EXACT_INDEX):
                        require(self._store, Capability.EXACT_INDEX)
                    generation, ids, vectors = self._store.vectors(self._dim)
                    found = VectorIndex.build(ids, vectors, generation)
                self._index = placed(found, self._device, float16=self._float16)
            return self._index

    def _scores(
        self, index: VectorIndex, queries: NDArray[np.float32], k: int, among: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        if among is not None and len(among) <= EXACT_UP_TO and index.mapped:
            return self._exactly(queries, k, among)
        if index.exact:
            return index.search(queries, k, among)
        if index.mapped:
            try:
                scores, ids = index.search(queries, k * index.rescored, among)
            except DamagedLists:
                require(self._store, Capability.EXACT_INDEX)
                raise
            return self._rescored(queries, ids, k) if index.rounded else (scores, ids)
        if among is not None:  # an approximate index would miss some, or most where few are left
            return self._exactly(queries, k, among)
        scores, ids = index.search(queries, k * index.rescored)
        if (ids < 0).any():  # fewer than there are: the lists that were looked into are short
            return self._exactly(queries, k, np.sort(index.ids))
        return self._rescored(queries, ids, k) if index.rounded else (scores, ids)

    def _rescored(
        self, queries: NDArray[np.float32], ids: NDArray[np.int64], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The best ``k`` of the candidates ``ids`` (n, m) by the vectors in the catalog."""
        wanted = np.unique(ids)
        found, vectors = self._vectors_of(wanted)
        scores = np.full(ids.shape, -2, np.float32)  # of what an update has just removed
        for row, candidates in enumerate(ids):
            known = np.isin(candidates, found)
            scores[row, known] = vectors[np.searchsorted(found, candidates[known])] @ queries[row]
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.clip(np.take_along_axis(scores, order, 1), -1, 1), np.take_along_axis(ids, order, 1)

    def _exactly(
        self, queries: NDArray[np.float32], k: int, among: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Exact search over the vectors in the catalog, block by block."""
        scores = np.zeros((len(queries), 0), np.float32)
        ids = np.zeros((len(queries), 0), np.int64)
        for start in range(0, len(among), BLOCK):
            found, vectors = self._vectors_of(among[start : start + BLOCK])
            block = VectorIndex.build(found, vectors, 0)
            more, more_ids = block.search(queries, k)
            scores, ids = np.hstack([scores, more]), np.hstack([ids, more_ids])
            order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
            scores, ids = np.take_along_axis(scores, order, 1), np.take_along_axis(ids, order, 1)
        return scores, ids

    def _vectors_of(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Those of ``ids`` (n,), ascending, that are still there, and their vectors."""
        with self._lock, explained(self._store.folder), self._store.snapshot():
            return self._store.vectors_there(ids, self._dim)


def _sound(
    index: VectorIndex,
    scores: NDArray[np.float32],
    ids: NDArray[np.int64],
    k: int,
    among: NDArray[np.int64] | None,
) -> bool:
    """Whether a result can be right: finite scores, and of an exact index as many as there are."""
    if not np.isfinite(scores).all():
        return False
    if not index.exact:
        return True
    wanted = min(k, len(index) if among is None else len(among))
    return ids.shape[1] >= wanted and bool((ids[:, :wanted] >= 0).all())


def _hits(
    scores: NDArray[np.float32],
    ids: NDArray[np.int64],
    items: dict[int, Item],
    without: set[int],
    k: int,
    noise: float | None,
) -> list[Hit]:
    found = [
        (score, items[id_])
        for score, id_ in zip(scores.tolist(), ids.tolist(), strict=True)
        if id_ in items and id_ not in without
    ]
    return [
        Hit(rank, score, item, None if noise is None else score > noise or score >= COPY, noise)
        for rank, (score, item) in enumerate(found[:k], 1)
    ]
