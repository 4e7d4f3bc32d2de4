"""Embedding one piece into the Parquet file of its shard, in memory. Actors use it; it needs no cluster."""

import io
import json
from collections.abc import Callable
from dataclasses import asdict

import numpy as np

from ..collection.storage.shard_file import ShardRow
from ..collection.storage.shard_writer import to_table, write_table
from ..collection.types import RETRY
from ..encoder.embed_files import Embedders, Outcome
from ..encoder.onnx_encoder import Encoder
from ..images.file_facts import facts
from .image_bytes import contents
from .locations import exact
from .pieces import Piece


class PieceEmbedder:
    """Embeds pieces one after the other in worker processes. A context manager that ends them.

    Args:
        encoder: The encoder.
        workers: Number of processes that decode and, on a CPU, embed.
    """

    def __init__(self, encoder: Encoder, workers: int = 1) -> None:
        self._encoder = encoder
        self._embedders = Embedders(encoder, facts=facts, workers=workers)

    def __enter__(self) -> "PieceEmbedder":
        return self

    def __exit__(self, *exception: object) -> None:
        self._embedders.__exit__(*exception)

    def embed(self, piece: Piece, on_progress: Callable[[int], None] = lambda done: None) -> bytes:
        """Embed a piece.

        Args:
            piece: The piece.
            on_progress: Called with the number of finished images.

        Returns:
            The bytes of its shard file, with one row per image.
        """
        sizes: list[int] = []

        def sources():
            for source, size in contents(piece):
                sizes.append(size)
                yield source

        rows: list[ShardRow] = []
        labels = piece.labels
        times = [file.mtime_ns for file in piece.files] if piece.part is None else piece.files[0].mtime_ns
        for outcomes in self._embedders.embed(sources()):
            for outcome in outcomes:
                number = len(rows)
                changed = times[number] if isinstance(times, list) else times
                rows.append(_row(labels[number], sizes[number], changed, outcome))
            on_progress(len(rows))
        return as_file(to_table(rows, self._encoder.dim), piece, self._encoder.identity, self._encoder.dim)


def as_file(table, piece: Piece, encoder: str, dim: int) -> bytes:
    """Write the shard file of a piece. Its footer contains what the next run needs to know.

    Args:
        table: Arrow table of the shard's rows.
        piece: The piece.
        encoder: Identity of the encoder.
        dim: Numbers of a vector.

    Returns:
        The bytes of the file.
    """
    reasons, times = table["reason"], table["mtime_ns"].to_numpy()
    extra = {
        "source": exact(piece.source)[0],
        "unusable": str(len(reasons) - reasons.null_count),
        "retry": str(int((times == RETRY).sum())),
        "part": json.dumps(None if piece.part is None else asdict(piece.part)),
    }
    sink = io.BytesIO()
    write_table(table, sink, encoder=encoder, dim=dim, extra=extra)
    return sink.getvalue()


def _row(label: str, size: int, mtime_ns: int, outcome: Outcome) -> ShardRow:
    text, raw = exact(label)
    path = text if raw is None else raw
    if outcome.error is not None:
        return ShardRow(path, size, mtime_ns if outcome.lasting else RETRY, reason=outcome.error)
    vector = outcome.vector
    if vector is None or not np.isfinite(vector).all() or not vector.any():
        return ShardRow(path, size, mtime_ns, reason="the encoder finds no direction for it")
    known = dict(outcome.facts)
    taken = known.pop("taken")
    known.pop("measures")  # shards have no place for them
    return ShardRow(path, size, mtime_ns, vector=vector, taken=taken and taken.isoformat(), **known)
