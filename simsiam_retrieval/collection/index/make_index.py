"""Making the FAISS index of a published generation, and what is measured while its vectors are at hand."""

import contextlib
import json
import sqlite3
from dataclasses import asdict, dataclass

import numpy as np

from ...core.memory import free_memory
from ..duplicates.find_duplicates import CALIBRATED
from ..storage.store import Store
from .index_types import KINDS, SHARDED_KINDS, check_kind, choose
from .noise_level import COPY, Noise, measure_noise, sample
from .tuning import Measured, check_recall, tune
from .vector_index import VectorIndex

INDEX_SEAL = "index seal"
GROWN = 0.2  # an index that grew or shrank by this share is measured anew


@dataclass(frozen=True)
class IndexSettings:
    """Which FAISS index a collection has. Raises :class:`UserError` for a type or a recall that is none."""

    kind: str = "auto"
    recall: float = 0.95  # recall@10 that an approximate index is tuned to

    def __post_init__(self) -> None:
        check_kind(self.kind, (*KINDS, *SHARDED_KINDS))
        check_recall(self.recall)


def recorded_settings(catalog: Store) -> IndexSettings:
    """The collection's settings; the default ones where none were given."""
    return _settings(catalog, "index")


def record_settings(catalog: Store, kind: str | None, recall: float | None) -> None:
    """Keep settings for later updates, None for those that stay.

    Raises :class:`UserError` as :class:`IndexSettings` does.
    """
    before = recorded_settings(catalog)
    check_kind(kind or before.kind, catalog.index_kinds)
    settings = IndexSettings(kind or before.kind, before.recall if recall is None else recall)
    if settings != before:
        catalog.note("index", json.dumps(asdict(settings)))


def is_outdated(catalog: Store) -> bool:
    """Whether the settings changed since the index was made."""
    return _settings(catalog, "index made with") != recorded_settings(catalog)


def _settings(catalog: Store, key: str) -> IndexSettings:
    noted = catalog.noted_json(key)
    try:
        return IndexSettings(**noted) if noted else IndexSettings()
    except TypeError:
        raise sqlite3.DatabaseError(f"its setting {key!r} cannot be read") from None


def measured(catalog: Store) -> Measured | None:
    """What the index gave when it was measured; None for an exact one."""
    noted = catalog.noted_json("measured")
    try:
        return Measured.from_dict(noted) if noted else None
    except TypeError:
        raise sqlite3.DatabaseError("its setting 'measured' cannot be read") from None


def alike_of(catalog: Store) -> float:
    """The cosine of near-duplicates for the collection's encoder; that of copies where nobody calibrated it."""
    return CALIBRATED.get(catalog.meta("encoder"), COPY)


def noise_note(generation: int, noise: Noise | None) -> str:
    """Text for the catalog: generation, typical level, base; older versions read the first two."""
    return json.dumps([generation, None, None] if noise is None else [generation, noise.typical, noise.base])


def noted_noise(catalog: Store, generation: int) -> tuple[bool, Noise | None]:
    """Whether this generation's noise level was worked out already, and that level."""
    match catalog.noted_json("noise"):
        case [int(of), None, None] if of == generation:
            return True, None
        case [int(of), float() | int() as typical, float() | int() as base] if of == generation:
            return True, Noise(base, typical, alike_of(catalog))
    return False, None  # another generation's, or noted by an older version


def load_index(catalog: Store, generation: int) -> VectorIndex | None:
    """The saved index of a generation; None where it is missing, damaged, or not the file that was sealed.

    A collection of an older version has no seal until its next update that changes something, or ``--verify``.
    """
    match catalog.noted_json(INDEX_SEAL):
        case None:
            return VectorIndex.load(catalog.folder, generation)
        case [int(of), str(seal)] if of == generation:
            return VectorIndex.load(catalog.folder, generation, seal)
    return None


def seal_index(catalog: Store, generation: int, seal: str) -> None:
    """Note the hash of a generation's index file."""
    catalog.note(INDEX_SEAL, json.dumps([generation, seal]))


def make_index(catalog: Store, dim: int, *, anew: bool = False) -> VectorIndex:
    """The index of the published generation, of the collection's type, saved.

    An older one is taken up where that is quicker, unless it shall be made ``anew``. Only for who holds the
    collection's lock. Notes the noise level, and of an approximate index what was measured.
    """
    settings = recorded_settings(catalog)
    kind = choose(settings.kind, catalog.count(), dim, free_memory())
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
    with contextlib.suppress(OSError, RuntimeError):  # a cache: the next reader builds it from the catalog
        index.save(catalog.folder, lambda seal: seal_index(catalog, index.generation, seal))
    return index


def _alike(last: Measured, settings: IndexSettings, count: int) -> bool:
    return last.asked == settings.recall and abs(count - last.images) <= GROWN * last.images


def _taken_up(catalog: Store, kind: str, dim: int) -> VectorIndex | None:
    """The newest index there is, brought to the published generation; None where building anew is better."""
    old, ids = VectorIndex.load_newest(catalog.folder), catalog.ids()
    if old is None or old.faiss_index.d != dim or not old.can_become(kind, ids):
        return None
    held = old.ids
    added = np.setdiff1d(ids, held, assume_unique=True)
    vectors = catalog.vectors_of(added, dim)
    return old.become(catalog.generation(), np.setdiff1d(held, ids, assume_unique=True), added, vectors)
