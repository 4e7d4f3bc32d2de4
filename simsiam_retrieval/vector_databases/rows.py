"""The data that is copied for every image, read from a collection one tile of ids at a time."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from ..collection import Collection
from ..collection.types import Record


class Facts(TypedDict):
    r"""Metadata of an image; docs/handover.md explains the use of each field.

    Attributes:
        path: Absolute; bytes that are not UTF-8 as \\xNN.
        folders: All folders above it, except "/".
        size: Size in bytes.
        date: When it was taken, otherwise last changed; local time without a time zone.
        taken: When it was taken, by the camera's clock.
        width: Pixels, upright.
        height: Pixels, upright.
        format: JPEG, PNG, ...
        label: "" without one.
        digest: SHA-256 of the file, hexadecimal; "" if an old collection has none.
        row_hash: Hash of all fields above and of the vector; rows with a changed hash are written again.
    """

    path: str
    folders: list[str]
    size: int
    date: datetime
    taken: datetime | None
    width: int
    height: int
    format: str
    label: str
    digest: str
    row_hash: str


@dataclass(frozen=True)
class Rows:
    """Images in the order of their ids.

    Attributes:
        ids: (n,).
        vectors: (n, dim), unit length.
        facts: Metadata of each image.
    """

    ids: NDArray[np.int64]
    vectors: NDArray[np.float32]
    facts: list[Facts]

    def __len__(self) -> int:
        return len(self.facts)

    def take(self, rows: Sequence[int]) -> "Rows":
        """Select rows.

        Args:
            rows: Positions.

        Returns:
            The selected rows.
        """
        return Rows(self.ids[list(rows)], self.vectors[list(rows)], [self.facts[row] for row in rows])

    def in_chunks(self, size: int) -> "Iterator[Rows]":
        """Divide the rows into chunks.

        Args:
            size: Rows per chunk.

        Yields:
            The chunks.
        """
        for start in range(0, len(self), size):
            yield self.take(range(start, min(start + size, len(self))))


@dataclass(frozen=True)
class Tile:
    """All images with ids in (first, last].

    No image has an id between ``after``, the end of the tile before, and ``first``. The bounds of tiles do not depend
    on which images the collection has lost. So a later run finds the same tiles.
    """

    number: int
    after: int
    first: int
    last: int
    rows: Rows


def tiles(collection: Collection, span: int) -> Iterator[Tile]:
    """Read a collection tile by tile. Only one tile is in memory at a time.

    Args:
        collection: The collection.
        span: Ids per tile.

    Yields:
        The tiles that contain an image, in order.
    """
    after = 0
    while (found := collection.next_id(after)) is not None:
        number = (found - 1) // span
        first, last = number * span, (number + 1) * span
        yield Tile(number, after, first, last, _rows(*collection.records(first, last)))
        after = last


def text_of(path: Path) -> str:
    r"""Convert a path to text that every database accepts.

    Args:
        path: The path.

    Returns:
        The path; bytes that are not UTF-8 as \\xNN.
    """
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _rows(records: list[Record], vectors: NDArray[np.float32]) -> Rows:
    facts = [_facts(record, vector) for record, vector in zip(records, vectors, strict=True)]
    return Rows(np.array([record.item.id for record in records], np.int64), vectors, facts)


def _facts(record: Record, vector: NDArray[np.float32]) -> Facts:
    item = record.item
    facts = Facts(
        path=text_of(item.path),
        folders=[text_of(folder) for folder in item.path.parents if folder != folder.parent],
        size=item.size,
        date=item.date,
        taken=item.taken,
        width=item.width,
        height=item.height,
        format=item.format,
        label=record.label,
        digest=record.digest.hex() if record.digest else "",
        row_hash="",
    )
    hashed = hashlib.blake2b(repr(list(facts.values())).encode(), digest_size=8)
    hashed.update(vector.tobytes())
    facts["row_hash"] = hashed.hexdigest()
    return facts
