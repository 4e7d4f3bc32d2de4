"""The part of ``Collection`` that reads regions."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..storage.capabilities import Capability, require
from ..storage.catalog_file import explained
from ..storage.contents import CollectionContents
from ..storage.sqlite_store import SqliteStore
from .region_index import has_regions


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
