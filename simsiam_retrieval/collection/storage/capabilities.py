"""What not every store can do: refused here, by capability, in one line."""

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import ClassVar, Protocol

from ...core.errors import UserError

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
    REGIONS = "store and search regions of images"


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
    Capability.REGIONS: "a sharded collection, which has no regions; index the images in question on their own, "
    "with --regions",
    Capability.EXACT_INDEX: "its index is missing or damaged; build it again: "
    "python -m simsiam_retrieval.index --rebuild-index --collection PATH",
}
TOO_MANY = {  # why, and what to do instead
    Capability.VECTORS: ("reads all vectors at once", "read them in parts with vectors_of(ids)"),
    Capability.LABEL: ("labels by content, which is looked up in all rows", "index the images to label on their own"),
    Capability.COMPARE: ("duplicates compare all images with each other", "search for an image's copies"),
}


class Limited(Protocol):
    """What says what it can do: a store.

    ``capabilities``: what it can do, with the number of images up to which it can; None is any number.
    """

    folder: Path
    capabilities: ClassVar[Mapping[Capability, int | None]]

    def count(self) -> int:
        """Return the number of images."""
        ...


def can(store: Limited, capability: Capability) -> bool:
    """Return whether a store can do this with the images that it has now.

    Args:
        store: The store.
        capability: What is asked of it.

    Returns:
        True if it can.
    """
    if capability not in store.capabilities:
        return False
    limit = store.capabilities[capability]
    return limit is None or store.count() <= limit


def require(store: Limited, capability: Capability) -> None:
    """Check that a store can do this with the images that it has now.

    Args:
        store: The store.
        capability: What is asked of it.

    Raises:
        UserError: It cannot; the message says what to do instead.
    """
    if can(store, capability):
        return
    if capability not in store.capabilities:
        raise UserError(f"{store.folder}: {NEVER[capability]}")
    why, instead = TOO_MANY[capability]
    limit = store.capabilities[capability]
    raise UserError(f"{store.folder}: {why}, which sharded collections of more than {limit:,} images refuse; {instead}")
