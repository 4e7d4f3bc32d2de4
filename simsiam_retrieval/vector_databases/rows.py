"""What is handed over of every image, read from a collection a tile of ids at a time."""

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
    """Metadata of an image; docs/handover.md says what each is for."""

    path: str  # absolute; bytes that are not UTF-8 as \\xNN
    folders: list[str]  # all folders above it, but /
    size: int  # bytes
    date: datetime  # taken, or else last changed; local time without a zone
    taken: datetime | None  # by the camera's clock
    width: int  # pixels, upright
    height: int
    format: str  # JPEG, PNG, ...
    label: str  # "" without one
    digest: str  # SHA-256 of the file, hexadecimal; "" where an old collection has none
    row_hash: str  # of all the above and the vector: what has changed since is written again


@dataclass(frozen=True)
class Rows:
    """Images in the order of their ids."""

    ids: NDArray[np.int64]  # (n,)
    vectors: NDArray[np.float32]  # (n, dim), unit length
    facts: list[Facts]

    def __len__(self) -> int:
        return len(self.facts)

    def take(self, rows: Sequence[int]) -> "Rows":
        return Rows(self.ids[list(rows)], self.vectors[list(rows)], [self.facts[row] for row in rows])

    def in_chunks(self, size: int) -> "Iterator[Rows]":
        for start in range(0, len(self), size):
            yield self.take(range(start, min(start + size, len(self))))


@dataclass(frozen=True)
class Tile:
    """All images with ids in (first, last]; there are none between the tile before, which ended at ``after``, and it.

    Tiles have the same bounds whatever the collection has lost since, so that a later run finds them as they were.
    """

    number: int
    after: int
    first: int
    last: int
    rows: Rows


def tiles(collection: Collection, span: int) -> Iterator[Tile]:
    """The tiles of ``span`` ids each that hold any image, in order; one is in memory at a time."""
    after = 0
    while (found := collection.next_id(after)) is not None:
        number = (found - 1) // span
        first, last = number * span, (number + 1) * span
        yield Tile(number, after, first, last, _rows(*collection.records(first, last)))
        after = last


def text_of(path: Path) -> str:
    """A path as text that every database takes."""
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
