"""What a collection is made of: images and files as its store, an update and a search pass them on."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..images.measures import Measures

RETRY = -1  # stands for a file's time where the next update should try it again, whether it has changed or not


@dataclass(frozen=True)
class Item:
    """An image of a collection."""

    id: int
    path: Path  # absolute, as it was when indexed
    size: int  # bytes
    mtime_ns: int
    width: int  # pixels, upright
    height: int
    format: str  # JPEG, PNG, ...
    taken: datetime | None = None  # by the camera's clock, from EXIF; None also where an old collection did not ask

    @property
    def date(self) -> datetime:
        """When it was taken, or else when the file was last changed; local time without a zone."""
        return self.taken or datetime.fromtimestamp(self.mtime_ns // 10**9)


@dataclass(frozen=True)
class Entry:
    """What an update found out about one file."""

    path: Path
    size: int
    mtime_ns: int
    error: str | None = None
    digest: bytes | None = None
    width: int | None = None
    height: int | None = None
    format: str | None = None
    taken: datetime | None = None
    vector: NDArray[np.float32] | None = None  # (dim,)
    thumbnail: bytes | None = None  # JPEG
    measures: Measures | None = None
    pages: int = 1  # of its file; for the report, not stored


class Record(NamedTuple):
    """An image with all that is known of it, but its vector and thumbnail."""

    item: Item
    digest: bytes | None  # SHA-256 of the file; None where an old collection did not ask
    label: str  # "" without one


@dataclass(frozen=True)
class Known:
    """A row as an update compares it with the disk."""

    id: int
    size: int
    mtime_ns: int
    generation: int
    error: str | None
    digest: bytes | None
    ctime_ns: int | None = None  # None where no update noted it


@dataclass(frozen=True)
class Content:
    """A usable row, as what its file holds."""

    id: int
    size: int  # bytes
    digest: bytes


@dataclass(frozen=True)
class Published:
    """What publishing a generation changed for readers."""

    changed: bool  # anything at all
    new_images: int
    changed_images: int


class Hit(NamedTuple):
    """One search result."""

    rank: int  # from 1
    score: float  # cosine similarity, in [-1, 1]
    item: Item
    above_noise: bool | None = None  # whether more alike than chance makes images of this collection; None: unknown
    noise_level: float | None = None  # what the score must exceed for that; of the query

    @property
    def path(self) -> Path:
        return self.item.path
