"""The part of ``Collection`` that reads what is stored, and labels it."""

import itertools
import secrets
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...core.errors import UserError
from ...core.paths import absolute
from ...images.measures import Measures
from ..search.filters import Filter
from ..state import CollectionState
from ..types import Item, Record
from .capabilities import Capability, require
from .catalog_file import explained


class CollectionContents(CollectionState):
    """Images, labels, measures and vectors."""

    def __repr__(self) -> str:
        try:
            return f"<{type(self).__name__} {str(self.folder)!r}: {len(self)} images, encoder {self.encoder_identity}>"
        except (UserError, sqlite3.ProgrammingError):  # damaged, or closed
            return f"<{type(self).__name__} {str(self.folder)!r}, not open>"

    def __len__(self) -> int:
        """Number of images that can be found."""
        with self._lock, explained(self.folder):
            return self._store.count()

    def __iter__(self) -> Iterator[Item]:
        """Images, sorted by path."""
        return iter(self.items())

    def items(self, limit: int = -1, offset: int = 0) -> list[Item]:
        """Return a page of the images, sorted by path.

        Args:
            limit: Number of images; -1 for all.
            offset: Number of images to skip.

        Returns:
            The images.
        """
        with self._lock, explained(self.folder):
            return list(self._store.items(limit, offset))

    def matching(self, where: Filter) -> list[Item]:
        """Return the images that meet a filter, sorted by path; of a sharded collection, sorted by id.

        Args:
            where: The filter.

        Returns:
            The images.

        Raises:
            UserError: More than 200,000 images of a sharded collection meet it.
        """
        most = self._store.capabilities.get(Capability.LIST)
        with self._lock, explained(self.folder):
            found = list(itertools.islice(self._store.items_where(where), None if most is None else most + 1))
        if most is not None and len(found) > most:
            raise UserError(f"more than {most:,} images meet the conditions; add another one")
        return found

    def folder_counts(self, sampled: int) -> Counter[tuple[Path, str]]:
        """Count images by folder and format.

        Args:
            sampled: How many random images of a sharded collection are counted; of a plain one all are.

        Returns:
            (folder, format) -> images.
        """
        with self._lock, explained(self.folder):
            return self._store.folder_counts(sampled)

    def sampled_items(self, count: int) -> list[Item]:
        """Return all images, sorted by path; of a sharded collection a random sample.

        Args:
            count: Size of the sample.

        Returns:
            The images.
        """
        with self._lock, explained(self.folder):
            return self._store.sampled_items(count)

    def item(self, id_: int) -> Item | None:
        """Return an image by its id.

        Args:
            id_: The id.

        Returns:
            The image, or None.
        """
        with self._lock, explained(self.folder):
            return self._store.items_by_id([id_]).get(id_)

    def item_at(self, path: str | Path) -> Item | None:
        """Return the image of a file.

        Args:
            path: The file.

        Returns:
            The image, or None.
        """
        with self._lock, explained(self.folder):
            return self._store.item_at(absolute(path))

    def thumbnail(self, id_: int) -> bytes | None:
        """Return the thumbnail of an image.

        Args:
            id_: The image's id.

        Returns:
            JPEG; longer side 240 to 479 px, or that of a smaller image. None for an unknown id.
        """
        with self._lock, explained(self.folder):
            return self._store.thumbnail(id_)

    def labels(self) -> dict[int, str]:
        """Return all labels.

        Returns:
            Item id -> label, for the images that have one.
        """
        with self._lock, explained(self.folder):
            return self._store.labels()

    def measures(self) -> dict[int, Measures]:
        """Return the measures of all measured images: blur, brightness and so on, see ``Measures``.

        Images that an older version indexed are missing until they are read again (``measure``). Images of a sharded
        collection are never measured.

        Returns:
            Item id -> measures.
        """
        with self._lock, explained(self.folder):
            return self._store.measures()

    def set_labels(self, labels: Mapping[int, str | None]) -> list[int]:
        """Label images, or remove labels. All changes are stored, or none.

        A label belongs to a file's content. Copies share it, and a file that is moved, or forgotten and found again,
        keeps it.

        Args:
            labels: Item id -> label; None removes it.

        Returns:
            Ids that were skipped: a collection of the first version has no hash of their content; index them again to
            label them.

        Raises:
            UserError: An id is unknown, a label is empty, or the collection cannot be written.
        """
        labels = {id_: None if label is None else label.strip() for id_, label in labels.items()}
        if "" in labels.values():
            raise UserError("a label cannot be empty; None takes it away")
        with self._lock, explained(self.folder):
            require(self._store, Capability.LABEL)
            unknown = labels.keys() - self._store.items_by_id(labels)
            if unknown:
                raise UserError(f"{self.folder}: no image {min(unknown)} in it; nothing was labelled")
            return self._store.set_labels(labels)

    def vectors(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return all vectors, from one state of the collection.

        Returns:
            Item ids, int64 (n,), ascending, and unit vectors, float32 (n, dim).

        Raises:
            UserError: It is a sharded collection of more than 200,000 images.
        """
        with self._lock, explained(self.folder):
            require(self._store, Capability.VECTORS)
            return self._store.vectors(self.dim)[1:]

    def sample(self, count: int) -> NDArray[np.float32]:
        """Return the vectors of random images; the same ones until an update.

        Args:
            count: Size of the sample.

        Returns:
            Unit vectors, float32 (min(n, count), dim).
        """
        with self._lock, explained(self.folder):
            return self._store.vectors_of(self._store.sampled_ids(count), self.dim)

    def vectors_of(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Return the vectors of images.

        Args:
            ids: Item ids.

        Returns:
            Unit vectors, float32 (n, dim).

        Raises:
            UserError: An image is no longer in the collection.
        """
        with self._lock, explained(self.folder):
            found = self._store.items_by_id(ids)
            if len(found) < len(set(ids)):
                raise UserError(f"{self.folder}: an image is no longer in it; search again")
            return self._store.vectors_of(np.array(ids, np.int64), self.dim)

    def records(self, after: int, upto: int) -> tuple[list[Record], NDArray[np.float32]]:
        """Return images with digest, label and vector, in the order of ids, from one state of the collection.

        Args:
            after: Lowest id, not included.
            upto: Highest id, included.

        Returns:
            The records, and their unit vectors, float32 (n, dim).
        """
        with self._lock, explained(self.folder), self._store.snapshot():
            records = self._store.records(after, upto)
            return records, self.vectors_of([record.item.id for record in records])

    def next_id(self, after: int = 0) -> int | None:
        """Return the lowest id of an image above a number.

        Args:
            after: The number.

        Returns:
            The id, or None.
        """
        with self._lock, explained(self.folder):
            return self._store.next_id(after)

    def own_name(self) -> str:
        """Return a random name that identifies this collection, whatever its folder is called.

        The name is created at the first use. Copies of the folder share it.

        Returns:
            The name.

        Raises:
            UserError: It must be created, and the collection cannot be written.
        """
        with self._lock, explained(self.folder):
            name = self._store.noted("own_name")
            if name is None:
                name = secrets.token_hex(8)
                self._store.note("own_name", name)
            return name

    def failures(self) -> list[tuple[Path, str]]:
        """List the files that could not be used.

        Returns:
            Paths and reasons.
        """
        with self._lock, explained(self.folder):
            return self._store.failures()

    @property
    def roots(self) -> list[Path]:
        """The folders that were indexed."""
        with self._lock, explained(self.folder):
            return self._store.roots()
