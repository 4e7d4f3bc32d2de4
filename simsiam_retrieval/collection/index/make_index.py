"""Building the FAISS index of a published generation, and the measurements while its vectors are in memory."""

import contextlib
import json
import sqlite3
from dataclasses import asdict, dataclass

import numpy as np

from ..duplicates.thresholds import CALIBRATED
from ..regions.region_index import make_region_index
from ..storage.sqlite_store import SqliteStore
from ..storage.store import Store
from .index_kinds import KINDS, SHARDED_KINDS, check_kind, choose
from .noise_level import COPY, Noise, measure_noise, sample
from .tuning import Measured, check_recall, tune
from .vector_index import VectorIndex

INDEX_SEAL = "index seal"
GROWN = 0.2  # change of size from which an index is measured again


@dataclass(frozen=True)
class IndexSettings:
    """The settings of a collection's FAISS index.

    Attributes:
        kind: Type of the index.
        recall: Target recall@10 of an approximate index.

    Raises:
        UserError: A value is not allowed.
    """

    kind: str = "auto"
    recall: float = 0.95

    def __post_init__(self) -> None:
        check_kind(self.kind, (*KINDS, *SHARDED_KINDS))
        check_recall(self.recall)


def recorded_settings(catalog: Store) -> IndexSettings:
    """Read the collection's settings.

    Args:
        catalog: The catalog.

    Returns:
        The settings; the defaults if none were given.
    """
    return _settings(catalog, "index")


def record_settings(catalog: Store, kind: str | None, recall: float | None) -> None:
    """Store settings for later updates.

    Args:
        catalog: The catalog.
        kind: Type of the index; None keeps the old one.
        recall: Target recall@10; None keeps the old one.

    Raises:
        UserError: A value is not allowed.
    """
    before = recorded_settings(catalog)
    check_kind(kind or before.kind, catalog.index_kinds)
    settings = IndexSettings(kind or before.kind, before.recall if recall is None else recall)
    if settings != before:
        catalog.note("index", json.dumps(asdict(settings)))


def is_outdated(catalog: Store) -> bool:
    """Return whether the settings changed since the index was built.

    Args:
        catalog: The catalog.

    Returns:
        True if they did.
    """
    return _settings(catalog, "index made with") != recorded_settings(catalog)


def _settings(catalog: Store, key: str) -> IndexSettings:
    noted = catalog.noted_json(key)
    try:
        return IndexSettings(**noted) if noted else IndexSettings()
    except TypeError:
        raise sqlite3.DatabaseError(f"its setting {key!r} cannot be read") from None


def measured(catalog: Store) -> Measured | None:
    """Return the measurements of an approximate index.

    Args:
        catalog: The catalog.

    Returns:
        The measurements; None for an exact index.
    """
    noted = catalog.noted_json("measured")
    try:
        return Measured.from_dict(noted) if noted else None
    except TypeError:
        raise sqlite3.DatabaseError("its setting 'measured' cannot be read") from None


def alike_of(catalog: Store) -> float:
    """Return the cosine of near-duplicates for the collection's encoder.

    Args:
        catalog: The catalog.

    Returns:
        The calibrated cosine; that of copies if the encoder is not calibrated.
    """
    return CALIBRATED.get(catalog.meta("encoder"), COPY)


def noise_note(generation: int, noise: Noise | None) -> str:
    """Format the noise level for the catalog: generation, typical level, base. Older versions read the first two.

    Args:
        generation: The generation.
        noise: The noise level, or None.

    Returns:
        JSON.
    """
    return json.dumps([generation, None, None] if noise is None else [generation, noise.typical, noise.base])


def noted_noise(catalog: Store, generation: int) -> tuple[bool, Noise | None]:
    """Read the noise level from the catalog.

    Args:
        catalog: The catalog.
        generation: The generation.

    Returns:
        Whether the level of this generation is stored, and the level.
    """
    match catalog.noted_json("noise"):
        case [int(of), None, None] if of == generation:
            return True, None
        case [int(of), float() | int() as typical, float() | int() as base] if of == generation:
            return True, Noise(base, typical, alike_of(catalog))
    return False, None  # of another generation, or stored by an older version


def load_index(catalog: Store, generation: int) -> VectorIndex | None:
    """Load the saved index of a generation.

    A collection of an older version has no stored hash until its next update that changes something, or ``--verify``.

    Args:
        catalog: The catalog.
        generation: The generation.

    Returns:
        The index; None if the file is missing, damaged, or differs from the stored hash.
    """
    match catalog.noted_json(INDEX_SEAL):
        case None:
            return VectorIndex.load(catalog.folder, generation)
        case [int(of), str(seal)] if of == generation:
            return VectorIndex.load(catalog.folder, generation, seal)
    return None


def seal_index(catalog: Store, generation: int, seal: str) -> None:
    """Store the hash of a generation's index file in the catalog.

    Args:
        catalog: The catalog.
        generation: The generation.
        seal: The hash.
    """
    catalog.note(INDEX_SEAL, json.dumps([generation, seal]))


def make_index(catalog: Store, dim: int, *, anew: bool = False) -> VectorIndex:
    """Build and save the index of the published generation.

    An older index is updated if that is faster. Also stores the noise level and, for an approximate index, the
    measurements. The index of regions, if there are any, is made, too. The caller must have the collection's lock.

    Args:
        catalog: The catalog.
        dim: Values per vector.
        anew: Whether to build it from nothing.

    Returns:
        The index.
    """
    settings = recorded_settings(catalog)
    kind = choose(settings.kind, catalog.count(), dim)
    last = measured(catalog)
    index = None
    if kind in ("ivf", "ivf-sq8", "hnsw") and not anew and last is not None and _alike(last, settings, catalog.count()):
        index = _taken_up(catalog, kind, dim)
    if index is None:
        generation, ids, vectors = catalog.vectors(dim)
        index = VectorIndex.build(ids, vectors, generation, kind)
        last = None
        if not index.exact:
            last = tune(index.faiss_index, ids, vectors, settings.recall, rescored=4 if index.rounded else 1)
        catalog.note("measured", json.dumps(None if last is None else last.as_dict()))
    catalog.note("index made with", json.dumps(asdict(settings)))
    wanted = sample(catalog.ids())
    noise = measure_noise(catalog.vectors_of(wanted, dim), alike_of(catalog))
    catalog.note("noise", noise_note(index.generation, noise))
    with contextlib.suppress(OSError, RuntimeError):  # only a cache: the next reader builds it from the catalog
        index.save(catalog.folder, lambda seal: seal_index(catalog, index.generation, seal))
    if isinstance(catalog, SqliteStore):
        make_region_index(catalog, dim, settings.recall, anew=anew)
    return index


def _alike(last: Measured, settings: IndexSettings, count: int) -> bool:
    return last.asked == settings.recall and abs(count - last.images) <= GROWN * last.images


def _taken_up(catalog: Store, kind: str, dim: int) -> VectorIndex | None:
    """The newest saved index, updated to the published generation; None if building is better."""
    old, ids = VectorIndex.load_newest(catalog.folder), catalog.ids()
    if old is None or old.dim != dim or not old.can_become(kind, ids):
        return None
    held = old.ids
    added = np.setdiff1d(ids, held, assume_unique=True)
    vectors = catalog.vectors_of(added, dim)
    return old.become(catalog.generation(), np.setdiff1d(held, ids, assume_unique=True), added, vectors)
