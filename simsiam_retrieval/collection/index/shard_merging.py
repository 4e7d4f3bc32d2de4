"""Merging the parts of a sharded index into one, then tuning and measuring it."""

from __future__ import annotations

import contextlib
import json
import shutil
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...core.atomic_files import replacing
from ...core.errors import UserError
from ..storage.derived_files import load_arrays
from ..storage.parquet_store import ParquetStore
from . import make_mapped_index, mapped_index
from . import shard_parts as parts
from .make_index import INDEX_SEAL
from .shard_training import Progress
from .tuning import NEIGHBOURS, TIE, TIMED, Measured

if TYPE_CHECKING:
    import faiss
else:
    from . import faiss_when_used as faiss

SPARE = 1.05  # factor on the disk space that merging needs


def merge_parts(
    catalog: ParquetStore,
    dim: int,
    tasks: Sequence[parts.PartTask],
    images: int,
    nearest: NDArray[np.float32],
    recall: float,
    generation: int,
    on_progress: Progress,
) -> tuple[dict[str, str], NDArray[np.uint64]]:
    """Write the index of a generation, tuned and measured.

    Args:
        catalog: The catalog.
        dim: Values per vector.
        tasks: The parts, which are made.
        images: Number of their vectors.
        nearest: Highest cosines of each query of the training, float32 (queries, KEPT), descending.
        recall: Target recall@10.
        generation: The generation.
        on_progress: Called with stage, done and total.

    Returns:
        Settings for the catalog, and the checksums of the index's lists, uint64 (lists,).

    Raises:
        UserError: The disk is full.
    """
    folder = catalog.folder
    sources = [task.files[0] for task in tasks]
    _check_space(folder, sources)
    index_file, lists_file = mapped_index.files_of(folder, generation)
    trained = parts.trained_files(folder, tasks[0].trained)
    on_progress("merging", 0, 1)
    with contextlib.ExitStack() as stack:
        raw_index, raw_lists = (folder / f".{file.name}.tmp" for file in (index_file, lists_file))
        for file in (raw_index, raw_lists):
            stack.callback(file.unlink, missing_ok=True)
        total = make_mapped_index.merge(trained[0], sources, raw_index, raw_lists)
        index = mapped_index.open_mapped(raw_index, raw_lists)
        if index is None or index.ntotal != total or total != images:
            raise UserError(f"{folder}: the merged index cannot be read back; is the disk full? Run it again")
        arrays = load_arrays(trained[1], ["queries"]) or {}
        on_progress("merging", 1, 1)
        taken = _tuned(catalog, dim, index, arrays["queries"], nearest, recall)
        lists = mapped_index.seals_of(index, range(index.nlist))
        if raw_lists.exists():
            raw_lists.replace(lists_file)
        with replacing(index_file) as temporary, temporary.open("wb") as stream:
            faiss.write_index(index, faiss.PyCallbackIOWriter(stream.write))  # pyright: ignore[reportAttributeAccessIssue]
    return {
        "measured": json.dumps(None if taken is None else taken.as_dict()),
        INDEX_SEAL: json.dumps([generation, *mapped_index.hashes_of(folder, generation)]),
    }, lists


def _check_space(folder: Path, sources: Sequence[Path]) -> None:
    needed = int(SPARE * sum(file.stat().st_size for file in sources))
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"{folder}: merging the index takes {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free; "
            "make room and run it again; what is done is kept"
        )


def _tuned(
    catalog: ParquetStore,
    dim: int,
    index: faiss.IndexIVF,
    queries: NDArray[np.float32],
    nearest: NDArray[np.float32],
    asked: float,
) -> Measured | None:
    """Raise nprobe until recall@10 reaches ``asked`` or its maximum; then measure the latency.

    Like ``tuning.tune``, but that needs all vectors in memory. Here each part has found its own exact neighbours.
    """
    if not len(queries) or not index.ntotal:
        return None
    held = mapped_index.ShardIndex(index, 0)
    found = min(NEIGHBOURS + 1, index.ntotal)
    floor = nearest[:, found - 1] - TIE
    probes = [1 << power for power in range(index.nlist.bit_length()) if 1 << power < index.nlist]
    recall, step = 0.0, 1
    for step in [*probes, index.nlist]:
        index.nprobe = step
        # reads only the requested lists, unlike a search
        _, ids = index.search(queries, min(index.ntotal, found * held.rescored))
        recall = _recall(_scores(catalog, dim, queries, ids), floor, found)
        if recall >= asked:
            break
    timed = []
    for query in queries[:: max(1, len(queries) // TIMED)][:TIMED]:
        start = time.perf_counter()
        _, ids = held.search(query[None], min(index.ntotal, found * held.rescored))
        _scores(catalog, dim, query[None], ids)
        timed.append(1000 * (time.perf_counter() - start))
    return Measured(
        kind=held.kind,
        images=index.ntotal,
        settings={"lists": index.nlist, "nprobe": step},
        asked=asked,
        recall=round(recall, 4),
        queries=len(queries),
        milliseconds=round(statistics.median(timed), 3),
        exact_milliseconds=None,
    )


def _recall(scores: NDArray[np.float32], floor: NDArray[np.float32], found: int) -> float:
    """Mean fraction of the ten nearest (without the query itself) that candidates with these scores (n, m) contain."""
    scores = -np.sort(-scores, axis=1)
    # the first result is the query itself, or a copy of it
    return float(np.mean((scores[:, 1:found] >= floor[:, None]).sum(axis=1) / max(1, found - 1)))


def _scores(
    catalog: ParquetStore, dim: int, queries: NDArray[np.float32], ids: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Exact cosines of candidates ``ids`` (n, m) with their queries; -2 for no candidate."""
    wanted = np.unique(ids[ids >= 0])
    vectors = catalog.vectors_of(wanted, dim)
    scores = np.full(ids.shape, -2, np.float32)
    for row, candidates in enumerate(ids):
        there = candidates >= 0
        scores[row, there] = vectors[np.searchsorted(wanted, candidates[there])] @ queries[row]
    return scores
