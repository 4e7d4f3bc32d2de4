"""The FAISS index of a collection's regions: a cache beside the catalog, like that of its images.

It holds every region and every image's own vector, so that one search compares a query with all of them. A vector's
number in it tells the image and the region.
"""

import contextlib
import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..index import index_file
from ..index.index_kinds import choose
from ..index.tuning import Measured, tune
from ..index.vector_index import RESCORED, VectorIndex
from ..storage.sqlite_store import SqliteStore

SETTING = "regions"  # of the catalog: not empty if the collection has regions
SEAL, MEASURED = "regions seal", "regions measured"
PLACES = 256  # numbers an image: 0 is its own vector, the others its regions


@dataclass(frozen=True)
class RegionState:
    """What the index of a collection's regions is made of.

    Attributes:
        generation: The published generation.
        images: Images whose regions are stored; an update adds those of older images without a new generation.
    """

    generation: int
    images: int

    @classmethod
    def of(cls, catalog: SqliteStore) -> "RegionState":
        """Read the state of a catalog.

        Args:
            catalog: The catalog.

        Returns:
            The state.
        """
        return cls(catalog.generation(), catalog.with_regions())


def has_regions(catalog: SqliteStore) -> bool:
    """Return whether a collection was made with regions.

    Args:
        catalog: The catalog.

    Returns:
        True if it was.
    """
    return bool(catalog.noted(SETTING))


def image_of(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the images that vectors of the index belong to.

    Args:
        numbers: Their numbers in the index.

    Returns:
        Item ids.
    """
    return numbers // PLACES


def region_vectors(catalog: SqliteStore, dim: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Read the vectors that the index holds.

    Args:
        catalog: The catalog.
        dim: Values per vector.

    Returns:
        Their numbers, int64 (n,), ascending, and unit vectors, float32 (n, dim).
    """
    with catalog.one_state():
        counts = catalog.region_counts()
        ids = catalog.ids()
        numbers = _numbers(ids, counts)
        vectors = np.zeros((len(numbers), dim), np.float32)
        vectors[np.searchsorted(numbers, PLACES * ids)] = catalog.vectors_of(ids, dim)
        for item, regions in catalog.regions(dim):
            first = int(np.searchsorted(numbers, PLACES * item + 1))
            vectors[first : first + len(regions.vectors)] = regions.vectors
    lengths = np.linalg.norm(vectors, axis=1)
    whole = lengths > 0.5  # a damaged row was left out
    vectors /= np.maximum(lengths, 0.5)[:, None]  # float16 rounds lengths, too
    return (numbers, vectors) if whole.all() else (numbers[whole], vectors[whole])


def _numbers(ids: NDArray[np.int64], counts: list[tuple[int, int]]) -> NDArray[np.int64]:
    parts = [PLACES * ids, *(PLACES * item + np.arange(1, count + 1) for item, count in counts)]
    return np.sort(np.concatenate(parts).astype(np.int64))


def load_region_index(catalog: SqliteStore) -> VectorIndex | None:
    """Load the saved index of the published state.

    Args:
        catalog: The catalog.

    Returns:
        The index; None if the file is missing, damaged or of another state.
    """
    state = RegionState.of(catalog)
    match catalog.noted_json(SEAL):
        case [state.generation, state.images, str(seal)]:
            return _loaded(catalog.folder, state.generation, seal)
    return None


def _loaded(folder: Path, generation: int, seal: str | None = None) -> VectorIndex | None:
    index = index_file.read(folder, generation, seal, index_file.REGIONS)
    return None if index is None else VectorIndex(index, generation)


def make_region_index(catalog: SqliteStore, dim: int, recall: float, *, anew: bool = False) -> VectorIndex | None:
    """Build and save the index of the published state, if the collection has regions.

    Exact up to 400,000 vectors of 256 values; beyond, inverted lists of 8-bit values, tuned to the target recall. An
    older index is updated if that is faster. The caller must have the collection's lock.

    Args:
        catalog: The catalog.
        dim: Values per vector.
        recall: Target recall@10.
        anew: Whether to build it from nothing.

    Returns:
        The index; None without regions.
    """
    if not has_regions(catalog):
        for file in catalog.folder.glob(f"{index_file.REGIONS}-*.faiss"):
            file.unlink(missing_ok=True)
        return None
    state = RegionState.of(catalog)
    numbers = _numbers(catalog.ids(), catalog.region_counts())
    kind = choose("auto", len(numbers), dim)
    index, measured = None, region_measured(catalog)
    if kind != "flat" and not anew and measured is not None and measured.asked == recall:
        index = _taken_up(catalog, dim, kind, numbers)
    if index is None:
        numbers, vectors = region_vectors(catalog, dim)
        index = VectorIndex.build(numbers, vectors, state.generation, kind)
        measured = None if index.exact else tune(index.faiss_index, numbers, vectors, recall, rescored=RESCORED)
        catalog.note(MEASURED, json.dumps(None if measured is None else measured.as_dict()))

    def seal(hashed: str) -> None:
        catalog.note(SEAL, json.dumps([state.generation, state.images, hashed]))

    with contextlib.suppress(OSError, RuntimeError):  # only a cache: the next reader builds it from the catalog
        index.save(catalog.folder, seal, index_file.REGIONS)
    return index


def is_current(catalog: SqliteStore) -> bool:
    """Return whether the saved index is of the published state; its content is not read.

    Args:
        catalog: The catalog.

    Returns:
        True if it is, or if the collection has no regions.
    """
    if not has_regions(catalog):
        return True
    state = RegionState.of(catalog)
    match catalog.noted_json(SEAL):
        case [state.generation, state.images, str()]:
            return index_file.path_of(catalog.folder, state.generation, index_file.REGIONS).exists()
    return False


def damaged_region_index(catalog: SqliteStore) -> Path | None:
    """Compare the file of the index of regions with its checksum.

    Args:
        catalog: The catalog.

    Returns:
        The file, if it was made of the published state and is missing or damaged.
    """
    state = RegionState.of(catalog)
    match catalog.noted_json(SEAL):
        case [state.generation, state.images, str(seal)]:
            if index_file.seal_of(catalog.folder, state.generation, index_file.REGIONS) != seal:
                return index_file.path_of(catalog.folder, state.generation, index_file.REGIONS)
    return None


def region_measured(catalog: SqliteStore) -> Measured | None:
    """Return the measurements of an approximate index of regions.

    Args:
        catalog: The catalog.

    Returns:
        The measurements; None for an exact index.
    """
    noted = catalog.noted_json(MEASURED)
    try:
        return Measured.from_dict(noted) if noted else None
    except TypeError:
        raise sqlite3.DatabaseError(f"its setting {MEASURED!r} cannot be read") from None


def _taken_up(catalog: SqliteStore, dim: int, kind: str, numbers: NDArray[np.int64]) -> VectorIndex | None:
    """The newest saved index, updated to the published state; None if building is better."""
    newest = index_file.newest(catalog.folder, index_file.REGIONS)
    old = None if newest is None else _loaded(catalog.folder, newest)
    if old is None or old.dim != dim or not old.can_become(kind, numbers):
        return None
    held = old.ids
    added = np.setdiff1d(numbers, held, assume_unique=True)
    items = np.unique(image_of(added))
    own = catalog.vectors_of(items, dim)
    parts = {PLACES * int(item): vector for item, vector in zip(items, own, strict=True)}
    for item, regions in catalog.regions(dim, items.tolist()):
        parts |= {PLACES * item + place: vector for place, vector in enumerate(regions.vectors, 1)}
    added = added[np.isin(added, np.fromiter(parts, np.int64, len(parts)))]
    vectors = np.array([parts[number] for number in added.tolist()], np.float32).reshape(len(added), dim)
    return old.become(catalog.generation(), np.setdiff1d(held, numbers, assume_unique=True), added, vectors)
