"""What a collection asks of its store, and what a store cannot do: refused here, by capability, in one line."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from ...core.errors import UserError
from ...images.measures import Measures
from ..search.filters import Filter
from ..types import Item, Record

LARGEST = 200_000  # images of a large store whose vectors are read together; see docs/sharded.md


class Capability(Enum):
    """What not every store can do, or not with any number of images."""

    UPDATE = "embed, forget and move single images"
    VECTORS = "read all vectors at once"
    LABEL = "label images"
    COMPARE = "compare all images with each other"
    LIST = "list all images that a filter lets through"
    GPU = "search on a GPU"
    EXACT_INDEX = "build an exact index in memory"


EVERYTHING: Mapping[Capability, int | None] = dict.fromkeys(Capability)
LARGE: Mapping[Capability, int | None] = {
    Capability.VECTORS: LARGEST,
    Capability.LABEL: LARGEST,
    Capability.COMPARE: LARGEST,
    Capability.LIST: LARGEST,
}

NEVER = {
    Capability.UPDATE: "a sharded collection; its images are embedded and forgotten by "
    "python -m simsiam_retrieval.index --engine ray, and its index is built with --rebuild-index",
    Capability.GPU: "a sharded collection is searched on the CPU, from the disk; leave out the GPU",
    Capability.EXACT_INDEX: "its index is missing or damaged; build it again: "
    "python -m simsiam_retrieval.index --rebuild-index --collection PATH",
}
TOO_MANY = {  # why, and what to do instead
    Capability.VECTORS: ("reads all vectors at once", "read them in parts with vectors_of(ids)"),
    Capability.LABEL: ("labels by content, which is looked up in all rows", "index the images to label on their own"),
    Capability.COMPARE: ("duplicates compare all images with each other", "search for an image's copies"),
}


class Store(Protocol):
    """Where a collection keeps its images. One thread at a time; errors as sqlite3 raises them.

    ``capabilities``: what it can do, with the number of images up to which it can; None is any number.
    """

    folder: Path
    index_kinds: ClassVar[tuple[str, ...]]
    capabilities: ClassVar[Mapping[Capability, int | None]]

    # the state and its settings
    def close(self) -> None: ...
    def schema(self) -> int: ...
    def generation(self) -> int: ...
    def snapshot(self) -> AbstractContextManager[None]: ...
    def meta(self, key: str) -> str: ...
    def noted(self, key: str) -> str | None: ...
    def note(self, key: str, value: str) -> None: ...
    def noted_json(self, key: str) -> Any: ...

    # images
    def count(self) -> int: ...
    def waiting(self) -> int: ...
    def ids(self) -> NDArray[np.int64]: ...
    def next_id(self, after: int) -> int | None: ...
    def items(self, limit: int = -1, offset: int = 0) -> Iterator[Item]: ...
    def items_by_id(self, ids: Iterable[int]) -> dict[int, Item]: ...
    def item_at(self, path: Path) -> Item | None: ...
    def items_where(self, where: Filter) -> Iterator[Item]: ...
    def ids_where(self, where: Filter) -> NDArray[np.int64]: ...
    def sampled_ids(self, count: int) -> NDArray[np.int64]: ...
    def sampled_items(self, count: int) -> list[Item]: ...
    def records(self, after: int, upto: int) -> list[Record]: ...
    def by_quality(self) -> Iterator[tuple[int, Path, int, int, bytes | None]]: ...
    def failures(self) -> list[tuple[Path, str]]: ...
    def roots(self) -> list[Path]: ...
    def check_rows(self, ids: Iterable[int]) -> None: ...

    # vectors (n, dim), of unit length, and thumbnails
    def vector(self, id_: int) -> NDArray[np.float32] | None: ...
    def vectors(self, dim: int) -> tuple[int, NDArray[np.int64], NDArray[np.float32]]: ...
    def vectors_of(self, ids: NDArray[np.int64], dim: int) -> NDArray[np.float32]: ...
    def vectors_there(self, ids: NDArray[np.int64], dim: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]: ...
    def thumbnail(self, id_: int) -> bytes | None: ...
    def thumbnail_lengths(self) -> Iterator[tuple[int, int, int, int]]: ...

    # labels and measures
    def measures(self) -> dict[int, Measures]: ...
    def labels(self) -> dict[int, str]: ...
    def set_labels(self, labels: Mapping[int, str | None]) -> list[int]: ...


def can(store: Store, capability: Capability) -> bool:
    """Whether a store can do this with the images that it has now."""
    if capability not in store.capabilities:
        return False
    limit = store.capabilities[capability]
    return limit is None or store.count() <= limit


def require(store: Store, capability: Capability) -> None:
    """Raise ``UserError``, with what to do instead, where a store cannot do this."""
    if can(store, capability):
        return
    if capability not in store.capabilities:
        raise UserError(f"{store.folder}: {NEVER[capability]}")
    why, instead = TOO_MANY[capability]
    limit = store.capabilities[capability]
    raise UserError(f"{store.folder}: {why}, which sharded collections of more than {limit:,} images refuse; {instead}")
