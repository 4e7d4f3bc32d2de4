"""What a collection asks of its store."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from ...images.measures import Measures
from ..search.filters import Filter
from ..types import Item, Record
from .capabilities import Capability
from .store_settings import StoreSettings


class Store(StoreSettings, Protocol):
    """Where a collection keeps its images. One thread at a time; errors as sqlite3 raises them.

    ``capabilities``: what it can do, with the number of images up to which it can; None is any number.
    """

    index_kinds: ClassVar[tuple[str, ...]]
    capabilities: ClassVar[Mapping[Capability, int | None]]

    # images: those that can be found, of the published generation

    def count(self) -> int:
        """Return the number of images."""
        ...

    def waiting(self) -> int:
        """Return the number of rows that an unfinished update has left for the next one."""
        ...

    def ids(self) -> NDArray[np.int64]:
        """Return all ids, int64 (n,), ascending."""
        ...

    def next_id(self, after: int) -> int | None:
        """Return the lowest id above a number.

        Args:
            after: The number.

        Returns:
            The id, or None.
        """
        ...

    def items(self, limit: int = -1, offset: int = 0) -> Iterator[Item]:
        """List images: a plain store by path, a sharded one by id.

        Args:
            limit: How many; -1 for all.
            offset: How many to skip.

        Yields:
            The images.
        """
        ...

    def items_by_id(self, ids: Iterable[int]) -> dict[int, Item]:
        """Look up images.

        Args:
            ids: Their ids.

        Returns:
            Id -> image, of those that are there.
        """
        ...

    def item_at(self, path: Path) -> Item | None:
        """Look up the image of a file.

        Args:
            path: Absolute path.

        Returns:
            The image, or None.
        """
        ...

    def items_where(self, where: Filter) -> Iterator[Item]:
        """List images that meet a filter, in the order of ``items``.

        Args:
            where: The filter.

        Yields:
            The images.
        """
        ...

    def ids_where(self, where: Filter) -> NDArray[np.int64]:
        """Return the ids of images that meet a filter.

        Args:
            where: The filter.

        Returns:
            int64 (n,), ascending.
        """
        ...

    def sampled_ids(self, count: int) -> NDArray[np.int64]:
        """Draw images at random; the same ones until an update.

        Args:
            count: How many.

        Returns:
            Their ids, int64 (min(n, count),), ascending.
        """
        ...

    def folder_counts(self, sampled: int) -> Counter[tuple[Path, str]]:
        """Count images by folder and format.

        Args:
            sampled: How many random images of a sharded store are counted; a plain store counts all.

        Returns:
            (folder, format) -> images.
        """
        ...

    def sampled_items(self, count: int) -> list[Item]:
        """Return all images of a plain store, a random sample of a sharded one.

        Args:
            count: Size of the sample.

        Returns:
            The images.
        """
        ...

    def records(self, after: int, upto: int) -> list[Record]:
        """Return images with digest and label, in the order of ids.

        Args:
            after: Lowest id, not included.
            upto: Highest id, included.

        Returns:
            The records.
        """
        ...

    def by_quality(self) -> Iterator[tuple[int, Path, int, int, bytes | None]]:
        """Return id, path, size, mtime_ns and digest: most pixels first, then most bytes, then by path."""
        ...

    def failures(self) -> list[tuple[Path, str]]:
        """Return the files that could not be used, with the reason, sorted by path."""
        ...

    def roots(self) -> list[Path]:
        """Return the folders and files that were indexed."""
        ...

    def check_rows(self, ids: Iterable[int]) -> None:
        """Compare rows with their checksums.

        Args:
            ids: Ids of images.

        Raises:
            DatabaseError: A row is missing or does not fit its checksum.
        """

    # vectors and thumbnails

    def vector(self, id_: int) -> NDArray[np.float32] | None:
        """Return a vector.

        Args:
            id_: Id of the image.

        Returns:
            Unit vector, float32 (dim,); None for an unknown id.
        """
        ...

    def vectors(self, dim: int) -> tuple[int, NDArray[np.int64], NDArray[np.float32]]:
        """Return all vectors, from one state.

        Args:
            dim: Values per vector.

        Returns:
            The generation, ids int64 (n,), ascending, and unit vectors float32 (n, dim).
        """
        ...

    def vectors_of(self, ids: NDArray[np.int64], dim: int) -> NDArray[np.float32]:
        """Return the vectors of images that are all there.

        Args:
            ids: int64 (n,).
            dim: Values per vector.

        Returns:
            Unit vectors, float32 (n, dim).
        """
        ...

    def vectors_there(self, ids: NDArray[np.int64], dim: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the vectors of those images that are there.

        Args:
            ids: int64 (n,), ascending, each once.
            dim: Values per vector.

        Returns:
            Their ids, int64 (m,), and unit vectors, float32 (m, dim).
        """
        ...

    def thumbnail(self, id_: int) -> bytes | None:
        """Return a thumbnail.

        Args:
            id_: Id of the image.

        Returns:
            JPEG; None for an unknown id.
        """
        ...

    def thumbnail_lengths(self) -> Iterator[tuple[int, int, int, int]]:
        """Return id, width and height of each image that has a thumbnail, and the thumbnail's length in bytes."""
        ...

    # labels and measures

    def measures(self) -> dict[int, Measures]:
        """Return id -> measures, of the measured images."""
        ...

    def labels(self) -> dict[int, str]:
        """Return id -> label, of the labelled images."""
        ...

    def set_labels(self, labels: Mapping[int, str | None]) -> list[int]:
        """Label the content of images, in one transaction.

        Args:
            labels: Id -> label; None removes it.

        Returns:
            Ids that were skipped, because an old collection has no hash of their content.
        """
        ...
