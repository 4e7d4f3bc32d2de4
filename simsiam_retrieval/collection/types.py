"""The data types of a collection: images and files, as store, update and search exchange them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..images.measures import Measures

RETRY = -1  # stored as a file's time if the next update must try it again, even if it has not changed


@dataclass(frozen=True)
class Item:
    """An image of a collection.

    Attributes:
        id: Its id.
        path: Absolute path when it was indexed.
        size: Size in bytes.
        mtime_ns: Time of the last change, in ns.
        width: Pixels, upright.
        height: Pixels, upright.
        format: JPEG, PNG, ...
        taken: When it was taken, by the camera's clock (EXIF); None if unknown, or not stored by an old collection.
    """

    id: int
    path: Path
    size: int
    mtime_ns: int
    width: int
    height: int
    format: str
    taken: datetime | None = None

    @property
    def date(self) -> datetime:
        """When it was taken, otherwise when the file was last changed; local time without a time zone."""
        return self.taken or datetime.fromtimestamp(self.mtime_ns // 10**9)


class Regions(NamedTuple):
    """The regions of one image.

    Attributes:
        boxes: Left, top, width and height as fractions of the upright picture, float32 (m, 4).
        vectors: Unit vectors, float16 (m, dim).
    """

    boxes: NDArray[np.float32]
    vectors: NDArray[np.float16]


@dataclass(frozen=True)
class Entry:
    """What an update found out about a file."""

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
    regions: Regions | None = None
    pages: int = 1  # of its file; for the report, not stored


class Record(NamedTuple):
    """An image with digest and label.

    Attributes:
        item: The image.
        digest: SHA-256 of the file; None if an old collection has none.
        label: "" without one.
    """

    item: Item
    digest: bytes | None  # SHA-256 of the file; None where an old collection did not ask
    label: str  # "" without one


@dataclass(frozen=True)
class Known:
    """A row that an update compares with the disk."""

    id: int
    size: int
    mtime_ns: int
    generation: int
    error: str | None
    digest: bytes | None
    ctime_ns: int | None = None  # None where no update noted it


@dataclass(frozen=True)
class Content:
    """The content of a usable row."""

    id: int
    size: int  # bytes
    digest: bytes


@dataclass(frozen=True)
class Published:
    """What readers see changed after publishing a generation."""

    changed: bool  # anything at all
    new_images: int
    changed_images: int
    damaged: Sequence[Path] = ()  # rows that do not fit their checksums and stay, because their files are not there


class Hit(NamedTuple):
    """One search result.

    Attributes:
        rank: From 1.
        score: Cosine similarity in [-1, 1].
        item: The image.
        above_noise: Whether the score is above the query's noise level; None if unknown.
        noise_level: The query's noise level.
        box: Of a search by region: left, top, width and height of the best region, as fractions of the picture.
    """

    rank: int
    score: float
    item: Item
    above_noise: bool | None = None
    noise_level: float | None = None
    box: tuple[float, float, float, float] | None = None

    @property
    def path(self) -> Path:
        """Path of the image."""
        return self.item.path

    @property
    def pixel_box(self) -> tuple[int, int, int, int] | None:
        """``box`` in pixels of the upright picture: left, top, width and height; None of a search of whole images."""
        if self.box is None:
            return None
        left, top, width, height = self.box
        across, down = self.item.width, self.item.height
        first = round(left * across), round(top * down)
        return (
            *first,
            max(1, round((left + width) * across) - first[0]),
            max(1, round((top + height) * down) - first[1]),
        )


class Duplicate(NamedTuple):
    """A file of a group of duplicates.

    Attributes:
        item: The file.
        score: Cosine with the best file of its group; 1 for the best file itself.
        exact: Whether it has the same bytes as the best file.
        state: "", "link" (to a file of the group), or "changed" or "gone" since it was indexed.
        kind: What it has to do with the best file, by their pixels (docs/duplicates.md); "" for the best file itself,
            and where pixels were not compared.
        detail: What was edited, such as "mirrored"; "" if nothing.
        part: Of a crop: "this" if this file is a part of the best one, "best" if the best one is a part of it; else "".
        box: Of a crop: where the part lies in the whole picture: left, top, width, height as fractions of the upright
            picture; else None.
    """

    item: Item
    score: float
    exact: bool
    state: str
    kind: str = ""
    detail: str = ""
    part: str = ""
    box: tuple[float, float, float, float] | None = None

    @property
    def path(self) -> Path:
        """Path of the file."""
        return self.item.path
