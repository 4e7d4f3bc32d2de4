"""A part of a sharded collection: some shards, added to an empty copy of the trained index by one task.

Tasks are independent and may run on other machines that see the collection's folder. Each writes files named after its
input, so a repeated task finds its result. One index per shard would be simpler, but every index file contains the
centroids, and the merge keeps a table of all lists for each file.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...core.errors import UserError
from ..storage.derived_files import load_arrays, save_arrays
from ..storage.parquet_reads import Shard
from ..storage.shard_file import Places, shard_file
from ..storage.shard_parquet_reader import read_places
from ..storage.shard_reader import footer_identity, unit
from . import make_mapped_index, mapped_index

if TYPE_CHECKING:
    import faiss
else:
    from . import faiss_when_used as faiss

FOLDER = "parts"
PART_BYTES = 128 << 20  # bytes of codes in a part; growing lists need up to twice as much
ADDED_AT_ONCE = 16_384  # vectors that are added at once


class PartTask(NamedTuple):
    """The input of one task, as values that can be sent to another process.

    Attributes:
        collection: The collection's folder.
        trained: Key of the trained index.
        shards: Name, identity of the footer and first id of each shard.
    """

    collection: str
    trained: str
    shards: tuple[tuple[str, str, int], ...]

    @property
    def key(self) -> str:
        """Name of the result; it depends on shards, ids and trained index."""
        return hashlib.sha256(json.dumps([self.trained, self.shards]).encode()).hexdigest()[:32]

    @property
    def files(self) -> tuple[Path, Path]:
        """The index, and the other results; the index is written last."""
        folder = Path(self.collection) / FOLDER
        return folder / f"part-{self.key}.faiss", folder / f"part-{self.key}.npz"


@dataclass(frozen=True)
class Part:
    """The results of a task besides the index.

    Attributes:
        vectors: Number of vectors.
        nearest: float32 (queries, up to KEPT): highest cosines of each query, descending.
        places: First id of a shard -> its row groups.
    """

    vectors: int
    nearest: NDArray[np.float32]
    places: dict[int, list[Places]]


KEPT = 11  # nearest vectors of each query: ten, and the query itself


def trained_files(collection: Path, key: str) -> tuple[Path, Path]:
    """Return the files of the trained index.

    Args:
        collection: The collection's folder.
        key: Key of the trained index.

    Returns:
        The empty index, and the queries (n, dim) for measuring recall.
    """
    folder = collection / FOLDER
    return folder / f"trained-{key}.faiss", folder / f"trained-{key}.npz"


def add_part(task: PartTask) -> int:
    """Build the index of a part, unless it exists.

    Needs memory for ``PART_BYTES`` of codes, as much again while lists grow, and one row group.

    Args:
        task: The task.

    Returns:
        Number of vectors.

    Raises:
        UserError: A shard is damaged, missing, or has changed.
    """
    index_file, facts_file = task.files
    if index_file.exists() and (known := read_part(task)) is not None:  # made by a killed build
        return known.vectors
    collection = Path(task.collection)
    empty, queries = _trained(collection, task.trained, _stamp(collection, task.trained))
    index = mapped_index.ivf(faiss.clone_index(empty))
    nearest = np.full((len(queries), KEPT), -2, np.float32)
    arrays: dict[str, NDArray] = {}
    for name, identity, first in task.shards:
        file = shard_file(collection, name)
        if footer_identity(file)[1] != identity:
            raise UserError(f"{file}: has changed since this build began; run it again")
        nearest = _add_shard(index, queries, nearest, file, first, arrays)
    arrays |= {"nearest": nearest, "vectors": np.array(index.ntotal)}
    if not save_arrays(facts_file, arrays):
        raise UserError(f"{facts_file.parent}: cannot be written; is the disk full? Nothing is lost; run it again")
    make_mapped_index.save(index, index_file)
    return index.ntotal


def _add_shard(
    index: faiss.IndexIVF,
    queries: NDArray[np.float32],
    nearest: NDArray[np.float32],
    file: Path,
    first: int,
    arrays: dict[str, NDArray],
) -> NDArray[np.float32]:
    places: list[tuple[int, int, int]] = []
    thumbnails: list[NDArray[np.uint32]] = []
    seals: list[NDArray[np.uint32]] = []
    blocks: list[NDArray[np.float32]] = []
    ids: list[NDArray[np.int64]] = []
    row = first

    def add() -> NDArray[np.float32]:
        vectors = np.concatenate(blocks)
        index.add_with_ids(vectors, np.concatenate(ids))
        blocks.clear()
        ids.clear()
        if not len(queries) or not len(vectors):
            return nearest
        scores = faiss.knn(queries, vectors, min(KEPT, len(vectors)), metric=faiss.METRIC_INNER_PRODUCT)[0]
        return -np.sort(-np.hstack([nearest, scores]), axis=1)[:, :KEPT]

    for group, vectors in read_places(file):
        has_one = vectors.any(axis=1)
        if not np.isfinite(vectors).all():
            raise UserError(f"{file}: a vector in it is not finite; delete it and embed its images again")
        blocks.append(unit(vectors[has_one]))
        ids.append(row + np.flatnonzero(has_one))
        places.append((group.rows, group.vectors_at, group.thumbnails_at))
        thumbnails.append(group.thumbnails)
        assert group.seals is not None  # read_places works them out
        seals.append(group.seals)
        row += group.rows
        if sum(map(len, blocks)) >= ADDED_AT_ONCE:
            nearest = add()
    if blocks:
        nearest = add()
    arrays[f"places {first}"] = np.array(places, np.int64).reshape(-1, 3)
    arrays[f"thumbnails {first}"] = np.concatenate([np.zeros((0, 2), np.uint32), *thumbnails])
    arrays[f"seals {first}"] = np.concatenate([np.zeros((0, 2), np.uint32), *seals])
    return nearest


def read_part(task: PartTask) -> Part | None:
    """Read the results of ``add_part``.

    Args:
        task: The task.

    Returns:
        The results; None if they are missing or damaged.
    """
    names = [f"{what} {first}" for _, _, first in task.shards for what in ("places", "thumbnails")]
    sealed = [f"seals {first}" for _, _, first in task.shards]
    arrays = load_arrays(task.files[1], ["vectors", "nearest", *names, *sealed])
    if arrays is None:  # older versions wrote no checksums
        arrays = load_arrays(task.files[1], ["vectors", "nearest", *names])
    if arrays is None:
        return None
    places: dict[int, list[Places]] = {}
    for _, _, first in task.shards:
        groups = arrays[f"places {first}"]
        ends = np.cumsum(groups[:, 0])
        thumbnails = np.split(arrays[f"thumbnails {first}"], ends[:-1]) if len(groups) else []
        found = arrays.get(f"seals {first}")
        seals = [None] * len(groups) if found is None or not len(groups) else np.split(found, ends[:-1])
        places[first] = [
            Places(group[0], group[1], group[2], thumbs, seal)
            for group, thumbs, seal in zip(groups.tolist(), thumbnails, seals, strict=True)
        ]
    return Part(int(arrays["vectors"]), arrays["nearest"], places)


def tasks_of(collection: Path, trained: str, shards: Sequence[Shard]) -> list[PartTask]:
    """List the tasks for all parts.

    Args:
        collection: The collection's folder.
        trained: Key of the trained index.
        shards: The shards.

    Returns:
        The tasks, in the order of their first ids.
    """
    members: dict[int, list[Shard]] = {}
    for shard in sorted(shards, key=lambda shard: shard.first):
        members.setdefault(shard.part, []).append(shard)
    return [
        PartTask(str(collection), trained, tuple((shard.name, shard.identity, shard.first) for shard in part))
        for part in members.values()
    ]


def assigned(shards: Sequence[Shard], vectors_a_part: int, *, anew: bool) -> dict[int, int]:
    """Assign shards without a part (below 0) to parts.

    New shards fill the last part, then new parts; the other parts do not change.

    Args:
        shards: The shards.
        vectors_a_part: Vectors per part at most.
        anew: Whether to assign all shards again.

    Returns:
        First id of the shard -> part.
    """
    held: dict[int, int] = {}
    for shard in shards:
        if shard.part >= 0 and not anew:
            held[shard.part] = held.get(shard.part, 0) + shard.rows
    part = max(held, default=0)
    found: dict[int, int] = {}
    for shard in shards:
        if shard.part < 0 or anew:
            if held.get(part, 0) and held[part] + shard.rows > vectors_a_part:
                part += 1
            held[part] = held.get(part, 0) + shard.rows
            found[shard.first] = part
    return found


def remove_others(collection: Path, keep: Sequence[Path]) -> None:
    """Delete parts that are no longer needed, and files that killed tasks left.

    Args:
        collection: The collection's folder.
        keep: Files to keep.
    """
    for file in (collection / FOLDER).glob("*"):
        if file not in keep:
            with contextlib.suppress(OSError):
                file.unlink()


def _stamp(collection: Path, key: str) -> int:
    return trained_files(collection, key)[0].stat().st_mtime_ns


@functools.lru_cache(maxsize=1)
def _trained(collection: Path, key: str, stamp: int) -> tuple[faiss.IndexIVF, NDArray[np.float32]]:
    """The empty index and the queries; cached, because a worker adds many parts. ``stamp``: time of the file."""
    index_file, queries_file = trained_files(collection, key)
    arrays = load_arrays(queries_file, ["queries"])
    if arrays is None:
        raise UserError(f"{queries_file}: gone or damaged; run the build again")
    return make_mapped_index.load(index_file), arrays["queries"]
