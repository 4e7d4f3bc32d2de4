"""Tuning an approximate index to a target recall, measured against exact search on the collection's own vectors."""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...core.errors import UserError
from .index_types import HNSW_LINKS, innermost, kind_of
from .int8_lists import to_search

if TYPE_CHECKING:
    import faiss
else:
    from . import faiss_when_used as faiss

NEIGHBOURS = 10  # recall@10
QUERIES = 200  # queries for measuring recall
TIMED = 20  # queries that are timed one by one
LARGEST_EF = 1024
TIE = 1e-6  # cosines closer than this count as equal


def check_recall(recall: float) -> None:
    """Check a target recall.

    Args:
        recall: The value.

    Raises:
        UserError: It is not above 0 and up to 1.
    """
    if not 0 < recall <= 1:
        raise UserError(f"--recall {recall:g}: give a share above 0 and up to 1")


@dataclass(frozen=True)
class Measured:
    """The measurements of an index when it was built.

    Attributes:
        kind: Type of the index.
        images: Number of images.
        settings: For example nprobe.
        asked: Target recall@10.
        recall: Mean fraction of the ten nearest that a search finds.
        queries: Number of queries for recall.
        milliseconds: Median time of one query.
        exact_milliseconds: Median time of one query by exact search; None if it was not measured.
    """

    kind: str
    images: int
    settings: dict[str, int]
    asked: float
    recall: float
    queries: int
    milliseconds: float
    exact_milliseconds: float | None

    @property
    def falls_short(self) -> bool:
        """Whether recall is below the target."""
        return self.recall < self.asked

    def as_dict(self) -> dict[str, object]:
        """Return the values for the catalog.

        Returns:
            Name -> value.
        """
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> Measured:
        """Read the values from the catalog.

        Args:
            values: Name -> value.

        Returns:
            The measurements.
        """
        return cls(**values)


def tune(
    index: faiss.Index, ids: NDArray[np.int64], vectors: NDArray[np.float32], asked: float, rescored: int = 1
) -> Measured:
    """Raise nprobe or efSearch until recall@10 reaches the target or its maximum; then measure the latency.

    Queries are vectors of the collection; each is left out of its own results. A tie counts as found.

    Args:
        index: The index; its setting is changed.
        ids: int64 (n,).
        vectors: Unit vectors, float32 (n, dim).
        asked: Target recall@10.
        rescored: Candidates per result that a search compares again by exact cosine.

    Returns:
        The measurements.
    """
    count = len(ids)
    rows = np.sort(np.random.default_rng(0).permutation(count)[:QUERIES])
    queries = vectors[rows]
    found = min(NEIGHBOURS + 1, count)
    scores, _ = faiss.knn(queries, vectors, found, metric=faiss.METRIC_INNER_PRODUCT)
    # the query itself has cosine 1: it is first, or equal to its copies
    floor = scores[:, -1] - TIE
    position = {int(id_): row for row, id_ in enumerate(ids)}

    def recall() -> float:
        _, candidates = index.search(to_search(index, queries)[0], min(count, found * rescored))
        shares = []
        for number, row in enumerate(rows):
            hits = [position[id_] for id_ in candidates[number].tolist() if id_ >= 0 and position[id_] != row]
            exact = np.sort(vectors[hits] @ queries[number])[::-1][: found - 1]
            shares.append(float((exact >= floor[number]).sum()) / max(1, found - 1))
        return statistics.fmean(shares)

    settings, reached = {}, 0.0
    for settings in _settings(index):
        _apply(index, settings)
        reached = recall()
        if reached >= asked:
            break
    timed = queries[:: max(1, len(queries) // TIMED)][:TIMED]
    return Measured(
        kind=kind_of(index),
        images=count,
        settings=settings,
        asked=asked,
        recall=round(reached, 4),
        queries=len(rows),
        milliseconds=_median_ms(lambda query: index.search(to_search(index, query)[0], found), timed),
        exact_milliseconds=_median_ms(
            lambda query: faiss.knn(query, vectors, found, metric=faiss.METRIC_INNER_PRODUCT), timed[:5]
        ),
    )


def _settings(index: faiss.Index) -> list[dict[str, int]]:
    """Settings to try, from fast to thorough."""
    inner = innermost(index)
    if isinstance(inner, faiss.IndexIVF):
        powers = [1 << power for power in range(inner.nlist.bit_length())]
        steps = sorted({step for power in powers for step in (power, power * 3 // 2) if step < inner.nlist})
        return [{"lists": inner.nlist, "nprobe": step} for step in [*steps, inner.nlist]]
    if isinstance(inner, faiss.IndexHNSW):
        return [{"links": HNSW_LINKS, "efSearch": ef} for ef in _doubling(16, LARGEST_EF)]
    return [{}]


def _doubling(first: int, last: int) -> list[int]:
    steps = [first]
    while steps[-1] < last:
        steps.append(2 * steps[-1])
    return steps


def _apply(index: faiss.Index, settings: dict[str, int]) -> None:
    inner = innermost(index)
    if isinstance(inner, faiss.IndexIVF):
        inner.nprobe = settings["nprobe"]
    elif isinstance(inner, faiss.IndexHNSW):
        inner.hnsw.efSearch = settings["efSearch"]


def _median_ms(search, queries: NDArray[np.float32]) -> float:
    taken = []
    for query in queries:
        start = time.perf_counter()
        search(query[None])
        taken.append(1000 * (time.perf_counter() - start))
    return round(statistics.median(taken), 3)
