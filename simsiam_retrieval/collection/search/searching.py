"""The part of ``Collection`` that searches."""

import contextlib
import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...core.errors import UserError
from ..index.make_index import measured
from ..index.tuning import Measured
from ..regions.reading import CollectionRegions
from ..storage.capabilities import Capability
from ..storage.catalog_file import explained
from ..types import Item
from .filters import NO_FILTER, Filter
from .hits import Hits
from .query_vectors import Query, combine, mean_weights
from .search_options import SearchOptions


class CollectionSearch(CollectionRegions):
    """Searches, and how they are judged."""

    def search(
        self,
        query: Query | Sequence[Query],
        k: int = 10,
        *,
        weights: Sequence[float] | None = None,
        unlike: Query | Sequence[Query] = (),
        where: Filter | None = None,
        box: Sequence[tuple[float, float, float, float]] = (),
        inside: bool = False,
    ) -> Hits:
        """Find the most similar images, best first.

        A collection without an approximate index is searched exactly. So are the images that meet a filter.

        Args:
            query: A path, encoded bytes, a Pillow image, a uint8 array (h, w, 3), or a float vector (dim,), which is
                scaled to unit length. Or an item of this collection, which is then left out of its own results. A list
                of these searches for what they have in common: the direction of their mean, or of their sum with
                ``weights``.
            k: Number of results.
            weights: A weight for each query; some may be negative.
            unlike: Queries that the results should not look like; half their mean is subtracted.
            where: Search only images that meet this filter.
            box: Parts of the query image to search for: left, top, width and height of each in pixels, upright.
                Several are combined as several queries are. Results are the images with the nearest regions, and
                ``Hit.box`` says which; the collection must have regions.
            inside: Compare the query with the regions of images, too: find larger images that contain it.

        Returns:
            The results.

        Raises:
            UserError: A query cannot be read, the queries cancel each other out, ``k`` is below 1, a box is outside the
                image, or the collection has no regions.
        """
        given = () if weights is None else tuple(weights)
        boxes = tuple((left, top, width, height) for left, top, width, height in box)
        options = SearchOptions(k, given, _as_tuple(unlike), where=where or NO_FILTER, box=boxes, inside=inside)
        return self.search_with(query, options)

    def search_with(self, query: Query | Sequence[Query], options: SearchOptions) -> Hits:
        """Run ``search`` with options that are made already.

        Args:
            query: See ``search``.
            options: The options.

        Returns:
            The results.

        Raises:
            UserError: As in ``search``.
        """
        if options.by_region:
            self._require(Capability.REGIONS)  # before anything is embedded
        vector = self.direction_with(query, options)
        left_out = [one.id for one in (*_as_tuple(query), *options.unlike) if isinstance(one, Item)]
        if options.by_region:
            hits = self._regions().nearest(vector, options.k, options.where, left_out)
        else:
            hits = self._searcher.nearest(vector[None], options.k, options.where, left_out)[0]
        return Hits(
            (hit for hit in hits if not options.above_noise or hit.above_noise is not False), thumbnail=self.thumbnail
        )

    def prepare(self) -> None:
        """Load the encoder and the index at the same time, as a first search by a picture needs both.

        An error of the encoder is left to the search.

        Raises:
            UserError: The collection is damaged.
        """

        def load_encoder() -> None:
            with contextlib.suppress(Exception):
                _ = self.encoder

        loading = threading.Thread(target=load_encoder)
        loading.start()
        try:
            self._searcher.index()
            self._searcher.noise_levels(np.empty((0, self.dim), np.float32))
        finally:
            loading.join()

    def direction_with(self, query: Query | Sequence[Query], options: SearchOptions) -> NDArray[np.float32]:
        """Compute the unit vector that ``search_with`` searches for.

        Args:
            query: See ``search``.
            options: The options.

        Returns:
            float32 (dim,).

        Raises:
            UserError: As in ``search``.
        """
        like: Query | Sequence[Query] = query
        if options.box:
            if len(_as_tuple(query)) != 1:
                raise UserError("--box: name one query image; a box is a part of it")
            like = self.parts_of(_as_tuple(query)[0], options.box)
        return self.direction(like, weights=options.weights or None, unlike=options.unlike)

    def direction(
        self,
        query: "Query | Sequence[Query]",
        *,
        weights: Sequence[float] | None = None,
        unlike: "Query | Sequence[Query]" = (),
    ) -> NDArray[np.float32]:
        """Compute the unit vector that ``search`` searches for.

        Args:
            query: See ``search``.
            weights: See ``search``.
            unlike: See ``search``.

        Returns:
            float32 (dim,).

        Raises:
            UserError: As in ``search``.
        """
        like, away = _as_tuple(query), _as_tuple(unlike)
        if not like:
            raise UserError("no query image; name at least one")
        SearchOptions(weights=() if weights is None else tuple(weights), unlike=away)  # whether both can be
        vectors = np.stack([self._vector(one) for one in (*like, *away)])
        if len(vectors) == 1 and weights is None:
            return vectors[0]  # without rounding
        return combine(vectors, mean_weights(len(like), len(away)) if weights is None else weights)

    def search_vectors(self, vectors: NDArray[np.float32], k: int = 10, *, where: Filter | None = None) -> list[Hits]:
        """Find the most similar images for many vectors at once. Much faster than single searches.

        Args:
            vectors: float32 (n, dim); they are scaled to unit length.
            k: Number of results.
            where: Search only images that meet this filter.

        Returns:
            The results of each vector, best first.

        Raises:
            UserError: ``k`` is below 1.
            ValueError: A vector cannot be scaled.
        """
        options = SearchOptions(k, where=where or NO_FILTER)
        queries = [self._unit(vector) for vector in vectors]
        found = self._searcher.nearest(np.stack(queries), options.k, options.where) if queries else []
        return [Hits(hits, self.thumbnail) for hits in found]

    @property
    def measured(self) -> Measured | None:
        """Recall and latency of an approximate index, measured when it was built; None for an exact index."""
        with self._lock, explained(self.folder):
            return measured(self._store)

    @property
    def noise_level(self) -> float | None:
        """The noise level of a typical image; None for fewer than 46 images.

        One random pair of images in a thousand exceeds the level of its query. A score up to the level carries no
        information; see docs/search.md.
        """
        return self._searcher.noise_level()

    def noise_level_of(self, query: NDArray[np.float32]) -> float | None:
        """Return the noise level of a query.

        Args:
            query: Unit vector, float32 (dim,).

        Returns:
            The level; None for fewer than 46 images.
        """
        return self._searcher.noise_levels(query[None])[0]

    def _vector(self, query: "Query") -> NDArray[np.float32]:
        """The unit vector (dim,) of one query."""
        if isinstance(query, Item):
            with self._lock, explained(self.folder):
                stored = self._store.vector(query.id)
            if stored is None:
                raise UserError(f"{query.path}: no longer in the collection")
            return stored
        if isinstance(query, np.ndarray) and query.dtype.kind == "f":
            return self._unit(query)
        return self.encoder.embed([query], reading=self.reading)[0]

    def _unit(self, vector: np.ndarray) -> NDArray[np.float32]:
        length = float(np.linalg.norm(vector))
        if vector.shape != (self.dim,) or not np.isfinite(length) or length == 0:
            raise ValueError(f"expected a finite vector of {self.dim} values that are not all zero")
        return (vector / length).astype(np.float32)


def _as_tuple(query: "Query | Sequence[Query]") -> tuple["Query", ...]:
    return tuple(query) if isinstance(query, list | tuple) else (query,)  # type: ignore[return-value]
