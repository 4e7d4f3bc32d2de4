"""An approximate index measured against exact search on the collection's own vectors, and tuned to the recall asked."""

import statistics
import time
from dataclasses import asdict, dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

from ...core.errors import UserError
from .index_types import HNSW_LINKS, innermost, kind_of

NEIGHBOURS = 10  # recall@10
QUERIES = 200  # for recall
TIMED = 20  # queries timed one by one
LARGEST_EF = 1024
TIE = 1e-6  # cosines closer than this are equal


def check_recall(recall: float) -> None:
    """Raise :class:`UserError` for what is no recall."""
    if not 0 < recall <= 1:
        raise UserError(f"--recall {recall:g}: give a share above 0 and up to 1")


@dataclass(frozen=True)
class Measured:
    """What an index gives, measured when it was built."""

    kind: str
    images: int
    settings: dict[str, int]  # such as nprobe
    asked: float  # recall
    recall: float  # share of the ten nearest that a search finds, mean over ``queries``
    queries: int
    milliseconds: float  # of one query, median
    exact_milliseconds: float | None  # of one query by exact search, median; None where there is none to be had

    @property
    def falls_short(self) -> bool:
        return self.recall < self.asked

    def as_dict(self) -> dict[str, object]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> "Measured":
        return cls(**values)


def tune(
    index: faiss.Index, ids: NDArray[np.int64], vectors: NDArray[np.float32], asked: float, rescored: int = 1
) -> Measured:
    """Raise nprobe or efSearch of ``index`` until its recall@10 is ``asked``, or as far as it goes; then time it.

    Queries are vectors of the collection, each left out of its own results. ``rescored``: for how many times as
    many candidates the exact cosine is worked out afterwards. A tie counts as found.
    """
    count = len(ids)
    rows = np.sort(np.random.default_rng(0).permutation(count)[:QUERIES])
    queries = vectors[rows]
    found = min(NEIGHBOURS + 1, count)
    scores, _ = faiss.knn(queries, vectors, found, metric=faiss.METRIC_INNER_PRODUCT)
    # the query itself has cosine 1 and comes first, or ties with its copies
    floor = scores[:, -1] - TIE
    position = {int(id_): row for row, id_ in enumerate(ids)}

    def recall() -> float:
        _, candidates = index.search(queries, min(count, found * rescored))
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
        milliseconds=_median_ms(lambda query: index.search(query, found), timed),
        exact_milliseconds=_median_ms(
            lambda query: faiss.knn(query, vectors, found, metric=faiss.METRIC_INNER_PRODUCT), timed[:5]
        ),
    )


def _settings(index: faiss.Index) -> list[dict[str, int]]:
    """What to try, from fast to thorough."""
    inner = innermost(index)
    if isinstance(inner, faiss.IndexIVF):
        steps = [1 << power for power in range(inner.nlist.bit_length()) if 1 << power < inner.nlist]
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
