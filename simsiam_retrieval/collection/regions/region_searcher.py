"""Searching the regions of one state of a collection: one result a picture, its best region, exact scores."""

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...core.errors import UserError
from ..index.make_index import alike_of
from ..index.noise_level import COPY, FEWEST, Noise, noise_of
from ..index.vector_index import VectorIndex
from ..search.filters import Filter
from ..storage.catalog_file import explained
from ..storage.sqlite_store import SqliteStore
from ..types import Hit, Item
from .region_boxes import own_box
from .region_index import RegionState, has_regions, image_of, load_region_index, region_vectors

NEAR = 8  # vectors that are looked up for each result: several regions of a picture are near the same query
COMPARED = 2  # pictures whose vectors are compared again for each result
SAMPLE = 500  # pictures for the noise level: 250,000 pairs

Box = tuple[float, float, float, float]
Scored = tuple[float, Box | None]  # None: the picture's own vector


class RegionSearcher:
    """Search the regions of one collection. Many threads may share it; ``lock`` guards ``store``.

    Args:
        store: The store.
        dim: Values per vector.
        lock: The lock.
    """

    def __init__(self, store: SqliteStore, dim: int, lock: threading.RLock) -> None:
        self.store, self._dim, self._lock = store, dim, lock
        self._index: tuple[RegionState, VectorIndex] | None = None
        self._counted: tuple[tuple[int, int], RegionState] | None = None  # state of the file, and of its regions
        self._noise: tuple[RegionState, Noise | None, _Sample | None] | None = None

    def nearest(
        self, query: NDArray[np.float32], k: int, where: Filter | None = None, without: Sequence[int] = ()
    ) -> list[Hit]:
        """Find the images with the nearest region.

        Args:
            query: Unit vector, float32 (dim,).
            k: Number of results.
            where: Search only images that meet this filter.
            without: Item ids to leave out.

        Returns:
            The results, best first, with the box of their best region.

        Raises:
            UserError: The collection has no regions, or is damaged.
        """
        while True:
            state, index, among = self._state(where)
            images = _images_near(index, query, COMPARED * (k + len(without)), among)
            with self._lock, explained(self.store.folder), self.store.snapshot():
                if self._published() != state:
                    continue  # an update came between
                level = self._level(query, state)
                items = self.store.items_by_id(images)
                scored = self._scored(query, items)
                best = sorted((id_ for id_ in scored if id_ not in without), key=lambda id_: -scored[id_][0])[:k]
                self.store.check_rows(best)
            return [_hit(rank, items[id_], scored[id_], level) for rank, id_ in enumerate(best, 1)]

    def noise_level(self, query: NDArray[np.float32]) -> float | None:
        """Return the noise level of a query: what the best region of one picture in a thousand exceeds by chance.

        Args:
            query: Unit vector, float32 (dim,).

        Returns:
            The level; None for too few images.
        """
        with self._lock, explained(self.store.folder), self.store.snapshot():
            return self._level(query, self._published())

    def _published(self) -> RegionState:
        """The published state; counted again only after the catalog's file has changed."""
        version = self.store.state()
        if self._counted is None or self._counted[0] != version:
            self._counted = version, RegionState.of(self.store)
        return self._counted[1]

    def _state(self, where: Filter | None) -> tuple[RegionState, VectorIndex, NDArray[np.int64] | None]:
        """The published state, its index, and the images that a filter lets through."""
        with self._lock, explained(self.store.folder):
            if not has_regions(self.store):
                raise UserError(
                    f"{self.store.folder}: has no regions; add them: "
                    f"python -m simsiam_retrieval.index --regions --collection {self.store.folder}"
                )
            while True:
                state = self._published()
                if self._index is None or self._index[0] != state:
                    index = load_region_index(self.store)
                    if index is None:  # a killed update left none: compare with all
                        index = VectorIndex.build(*region_vectors(self.store, self._dim), state.generation)
                    self._index = state, index
                among = self.store.ids_where(where) if where else None
                if self._published() == state:
                    return *self._index, among

    def _scored(self, query: NDArray[np.float32], items: dict[int, Item]) -> dict[int, Scored]:
        """Item id -> cosine and box of the best vector of each image."""
        ids = np.array(list(items), np.int64)
        own = self.store.vectors_of(ids, self._dim) @ query
        found: dict[int, Scored] = {id_: (score, None) for id_, score in zip(items, own.tolist(), strict=True)}
        for id_, regions in self.store.regions(self._dim, items):
            if len(regions.vectors):
                vectors = regions.vectors.astype(np.float32)
                scores = vectors @ query / np.linalg.norm(vectors, axis=1)
                best = int(scores.argmax())
                if scores[best] > found[id_][0]:
                    left, top, width, height = regions.boxes[best].tolist()
                    found[id_] = float(scores[best]), (left, top, width, height)
        return found

    def _level(self, query: NDArray[np.float32], state: RegionState) -> float | None:
        if self._noise is None or self._noise[0] != state:
            sample = _Sample.of(self.store, self._dim)
            noise = None if sample is None else noise_of(sample.scores_of_itself(), alike_of(self.store))
            self._noise = state, noise, sample
        _, noise, sample = self._noise
        if noise is None or sample is None:
            return None
        return float(noise.levels_of(sample.scores(query[None]))[0])


class _Sample:
    """All vectors of random pictures."""

    def __init__(self, vectors: NDArray[np.float32], starts: NDArray[np.intp]) -> None:
        self._vectors = vectors  # (n, dim), picture by picture
        self._starts = starts  # row of each picture's first vector, (m,)

    @classmethod
    def of(cls, store: SqliteStore, dim: int) -> "_Sample | None":
        """Draw the sample; None from too few pictures."""
        ids = store.sampled_ids(SAMPLE)
        if len(ids) < FEWEST:
            return None
        parts = dict(store.regions(dim, ids.tolist()))
        stacks = [
            np.vstack([own, *([parts[id_].vectors.astype(np.float32)] if id_ in parts else [])])
            for id_, own in zip(ids.tolist(), store.vectors_of(ids, dim), strict=True)
        ]
        lengths = [len(stack) for stack in stacks]
        return cls(np.vstack(stacks), np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.intp))

    def scores(self, queries: NDArray[np.float32]) -> NDArray[np.float32]:
        """Score of each query with each picture, (n, m): that of the best vector."""
        return np.maximum.reduceat(queries @ self._vectors.T, self._starts, axis=1)

    def scores_of_itself(self) -> NDArray[np.float32]:
        """Scores of random vectors of the pictures with the pictures, (m, m); 1 with the own one."""
        draw = np.random.default_rng(0)
        ends = np.append(self._starts[1:], len(self._vectors))
        scores = self.scores(self._vectors[draw.integers(self._starts, ends)])
        np.fill_diagonal(scores, 1)
        return scores


def _images_near(
    index: VectorIndex, query: NDArray[np.float32], wanted: int, among: NDArray[np.int64] | None
) -> list[int]:
    """Item ids of the images of the nearest vectors, best first: ``wanted``, if there are so many."""
    numbers = None
    if among is not None:
        numbers = np.sort(index.ids)
        numbers = numbers[np.isin(image_of(numbers), among)]
    most = len(index) if numbers is None else len(numbers)
    count = NEAR * wanted
    while True:
        _, found = index.search(query[None], min(count, most), numbers)
        whole = found[0][found[0] >= 0]
        images = list(dict.fromkeys(image_of(whole).tolist()))
        if len(images) >= wanted:
            return images[:wanted]
        if numbers is None and len(whole) < min(count, most):  # the lists that were looked into are short
            numbers = np.sort(index.ids)
            continue
        if count >= most:
            return images
        count *= 4


def _hit(rank: int, item: Item, scored: Scored, level: float | None) -> Hit:
    score, box = min(1.0, scored[0]), scored[1] or own_box(item.width, item.height)
    return Hit(rank, score, item, None if level is None else score > level or score >= COPY, level, box)
