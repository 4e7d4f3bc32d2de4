"""Training the index of a sharded collection, on a sample of its shards."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import UserError
from ..storage.derived_files import save_arrays
from ..storage.parquet_reads import Shard
from ..storage.parquet_store import ParquetStore
from ..storage.shard_file import FOLDER, ROW_GROUP, shard_file
from ..storage.shard_parquet_reader import read_vectors
from ..storage.shard_reader import unit
from . import make_mapped_index
from . import shard_parts as parts
from .index_types import SEED
from .tuning import QUERIES

READ_FOR_SAMPLE = 4  # rows read per row of the sample: random row groups are read as a whole
GROWTH = 4  # growth factor of a collection from which the lists are trained again

Progress = Callable[[str, int, int], None]  # stage, done, total


def train(
    catalog: ParquetStore, dim: int, kind: str, shards: Sequence[Shard], rows: int, on_progress: Progress
) -> dict[str, Any]:
    """Train on a sample, unless a killed build has done so, even for fewer shards.

    Args:
        catalog: The catalog.
        dim: Values per vector.
        kind: Type of the index.
        shards: The shards.
        rows: Number of their rows.
        on_progress: Called with stage, done and total.

    Returns:
        The facts of the training that later builds need; JSON values.

    Raises:
        UserError: There is no image, or the disk is full.
    """
    folder = catalog.folder
    pending = catalog.noted_json("training") or {}
    if (
        pending and pending["kind"] == kind and pending["rows"] <= rows <= GROWTH * pending["rows"]
        and all(file.exists() for file in parts.trained_files(folder, pending["key"]))
    ):  # fmt: skip
        return pending
    content = json.dumps([kind, dim, sorted((shard.name, shard.identity) for shard in shards)])
    key = hashlib.sha256(content.encode()).hexdigest()[:32]
    index_file, queries_file = parts.trained_files(folder, key)
    sample, queries = _sample(folder, dim, shards, make_mapped_index.sample_size(rows), on_progress)
    if not len(sample):
        raise UserError(f"{folder / FOLDER}: no shard with an image in it; embed some first")
    on_progress("training", 0, 1)
    index = make_mapped_index.train(kind, make_mapped_index.lists_for(rows), sample)
    del sample
    if not save_arrays(queries_file, {"queries": queries}):
        raise UserError(f"{folder}: cannot be written; is the disk full? Nothing is lost; run it again")
    make_mapped_index.save(index, index_file)
    on_progress("training", 1, 1)
    vectors_a_part = max(1, parts.PART_BYTES // make_mapped_index.code_bytes(index))
    trained = {"key": key, "kind": kind, "rows": rows, "vectors_a_part": vectors_a_part}
    catalog.note("training", json.dumps(trained))
    return trained


def _sample(
    folder: Path, dim: int, shards: Sequence[Shard], count: int, on_progress: Progress
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Unit vectors for training (about ``count``, dim) and as queries (200 or fewer, dim); always the same."""
    generator = np.random.default_rng(SEED)
    groups = [(shard, group) for shard in shards for group in range(-(-shard.rows // ROW_GROUP))]
    wanted = min(len(groups), max(QUERIES, -(-READ_FOR_SAMPLE * count // ROW_GROUP)))
    chosen = sorted(generator.permutation(len(groups))[:wanted].tolist())
    by_shard: dict[Shard, list[int]] = {}
    for number in chosen:
        by_shard.setdefault(groups[number][0], []).append(groups[number][1])
    rows = sum(min(ROW_GROUP, s.rows - ROW_GROUP * g) for s, of_shard in by_shard.items() for g in of_shard)
    share = min(1.0, count / max(1, rows))
    sample = np.empty(
        (count + ROW_GROUP, dim), np.float32
    )  # one array that is filled step by step, to avoid a second copy
    taken = 0
    queries: list[NDArray[np.float16]] = []
    for done, (shard, of_shard) in enumerate(by_shard.items()):
        on_progress("sampling", done, len(by_shard))
        for vectors in read_vectors(shard_file(folder, shard.name), of_shard):
            vectors = vectors[vectors.any(axis=1)]
            some = vectors[generator.random(len(vectors)) < share][: len(sample) - taken]
            sample[taken : taken + len(some)] = unit(some)
            taken += len(some)
            queries.append(vectors[generator.random(len(vectors)) < 2 * QUERIES / rows])
    found = np.concatenate(queries) if queries else np.zeros((0, dim), np.float16)
    found = found[np.sort(generator.permutation(len(found))[:QUERIES])]
    return sample[:taken], unit(found)
