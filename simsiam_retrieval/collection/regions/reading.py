"""The part of ``Collection`` that reads regions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...core.errors import UserError
from ...encoder.onnx_encoder import ImageLike
from ...images.decode import Decoded
from ..search.query_vectors import Query
from ..storage.capabilities import Capability, require
from ..storage.catalog_file import explained
from ..storage.contents import CollectionContents
from ..storage.sqlite_store import SqliteStore
from ..types import Item
from .query_boxes import PixelBox, cut, picture_of
from .region_index import has_regions
from .region_searcher import RegionSearcher


@dataclass(frozen=True)
class RegionVectors:
    """The regions of all images of a collection, in the order of ids.

    Attributes:
        ids: Item id of each region's image, int64 (m,).
        boxes: Left, top, width and height as fractions of the upright picture, float32 (m, 4).
        vectors: Unit vectors, float32 (m, dim).
    """

    ids: NDArray[np.int64]
    boxes: NDArray[np.float32]
    vectors: NDArray[np.float32]


class CollectionRegions(CollectionContents):
    """Regions of images; see ``docs/regions.md``."""

    _region_searcher: RegionSearcher | None = None

    @property
    def has_regions(self) -> bool:
        """Whether the collection was indexed with ``--regions``."""
        with self._lock, explained(self.folder):
            return isinstance(self._store, SqliteStore) and has_regions(self._store)

    def region_vectors(self) -> RegionVectors:
        """Return the regions of all images, from one state of the collection.

        Returns:
            The regions; none of a collection without regions.

        Raises:
            UserError: It is a sharded collection.
        """
        with self._lock, explained(self.folder):
            require(self._store, Capability.REGIONS)
            assert isinstance(self._store, SqliteStore)
            with self._store.one_state():
                count = sum(count for _, count in self._store.region_counts())
                ids, boxes = np.zeros(count, np.int64), np.zeros((count, 4), np.float32)
                vectors = np.zeros((count, self.dim), np.float32)
                filled = 0
                for item, regions in self._store.regions(self.dim):
                    rows = slice(filled, filled + len(regions.boxes))
                    ids[rows], boxes[rows], vectors[rows] = item, regions.boxes, regions.vectors
                    filled = rows.stop
        ids, boxes, vectors = ids[:filled], boxes[:filled], vectors[:filled]  # without damaged rows
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)  # float16 rounds lengths, too
        return RegionVectors(ids, boxes, vectors)

    def parts_of(self, query: Query, boxes: Sequence[PixelBox]) -> list[Decoded]:
        """Cut boxes out of a query picture.

        Args:
            query: A path, encoded bytes, a Pillow image, a uint8 array, or an item of this collection.
            boxes: Left, top, width and height of each in pixels of the upright picture.

        Returns:
            A picture for each box.

        Raises:
            UserError: The picture cannot be decoded, or a box is not inside it.
        """
        if isinstance(query, np.ndarray) and query.dtype.kind == "f":
            raise UserError("--box: a vector has no parts; name a picture")
        source: ImageLike = query.path if isinstance(query, Item) else query
        return cut(picture_of(source, self.encoder, self.reading), boxes)

    def region_noise_level_of(self, query: NDArray[np.float32]) -> float | None:
        """Return the noise level of a search by region: scores of best regions are higher than those of whole pictures.

        Args:
            query: Unit vector, float32 (dim,).

        Returns:
            The level; None for fewer than 46 images.
        """
        return self._regions().noise_level(query)

    def _regions(self) -> RegionSearcher:
        """The searcher of the open store."""
        with self._lock, explained(self.folder):
            require(self._store, Capability.REGIONS)
            assert isinstance(self._store, SqliteStore)
            if self._region_searcher is None or self._region_searcher.store is not self._store:
                self._region_searcher = RegionSearcher(self._store, self.dim, self._lock)
            return self._region_searcher
