"""Sharded collections for tests: of generated vectors, and of what a plain collection holds."""

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simsiam_retrieval.collection.storage.shard_file import ShardRow, shard_name
from simsiam_retrieval.collection.storage.shard_manifest import Manifest, prepare
from simsiam_retrieval.collection.storage.shard_writer import write_shard
from tests.support.small_encoder import (
    SIDE,
    small_encoder,
    unit_vector,
)

DIM = SIDE * SIDE * 3
BROKEN = 7  # in every hundred rows, that one has no vector


def unit_vectors(count: int, seed: int) -> NDArray[np.float32]:
    """Vectors (count, DIM) round 40 directions, as those of photos lie; the same directions for every seed."""
    centres = np.random.default_rng(0).standard_normal((40, DIM))
    generator = np.random.default_rng(seed)
    found = centres[generator.integers(0, 40, count)] + 0.7 * generator.standard_normal((count, DIM))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def generated_rows(number: int, count: int, source: str = "/made") -> list[ShardRow]:
    """The rows of the shard ``number``: a broken one in every hundred, thumbnails that say which row they are of."""
    vectors = unit_vectors(count, 100 + number)
    return [
        ShardRow(f"{source}/{number}/{row:05}.jpg", 10, 5, reason="damaged: made so")
        if row % 100 == BROKEN
        else ShardRow(
            f"{source}/{number}/{row:05}.jpg",
            1000 + row,
            5,
            bytes([number]) * 28 + row.to_bytes(4, "big"),
            40 + row % 3,
            30,
            "PNG" if row % 2 else "JPEG",
            None,
            vectors[row],
            b"\xff\xd8 %d of %d \xff\xd9" % (row, number) if row % 5 else None,
        )
        for row in range(count)
    ]


def write_rows(folder: Path, made: Manifest, number: int | str, rows: Sequence[ShardRow], source: str = "/made") -> str:
    """Write a shard; its name."""
    name = shard_name(made.encoder, [{"path": str(number)}])
    write_shard(folder, name, rows, encoder=made.encoder, dim=made.dim, extra={"source": source})
    return name


def prepared(folder: Path, sizes: Sequence[int] = ()) -> Manifest:
    """A sharded collection of the small encoder with generated shards, not built yet."""
    made = prepare(folder, small_encoder(folder.with_suffix(".onnx")), ["/made"])
    for number, size in enumerate(sizes):
        write_rows(folder, made, number, generated_rows(number, size))
    return made


def rounded(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """What a shard keeps of unit vectors, worked out with numpy alone: float16, and unit length again."""
    found = vectors.astype(np.float16).astype(np.float64)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def rows_of_plain(folder: Path) -> Iterator[ShardRow]:
    """What a plain collection holds, read from its file."""
    database = sqlite3.connect(folder / "catalog.sqlite")
    query = (
        "SELECT path, size, mtime_ns, digest, width, height, format, taken, vector, jpeg, error FROM items"
        " LEFT JOIN vectors ON vectors.item = id LEFT JOIN thumbnails ON thumbnails.item = id ORDER BY path"
    )
    for *facts, vector, jpeg, error in database.execute(query):
        path, size, mtime_ns, digest, width, height, format_, taken = facts
        yield ShardRow(
            path,
            size,
            mtime_ns,
            digest,
            width,
            height,
            format_,
            taken,
            None if vector is None else unit_vector(vector).astype(np.float32),
            jpeg,
            error,
        )
    database.close()
