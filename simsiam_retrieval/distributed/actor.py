"""What runs on the machines of a cluster: an actor that turns pieces into shards, and the one that counts."""

import os
import pickle
import socket
import zlib
from pathlib import Path
from typing import Any

from ..collection.storage.shard_manifest import ENCODER_FILE
from ..core.atomic_files import replacing
from ..core.errors import UserError
from ..core.paths import home
from ..core.version import __version__
from ..encoder.onnx_encoder import Encoder
from .embed_piece import PieceEmbedder
from .locations import is_url
from .pieces import Piece

TIMES = 8  # that a piece is begun: one that kills every process must come to an end


class Embedder:
    """Rows of ``piece`` (as :func:`packed`) -> rows of ``number``, ``shard`` (bytes of a Parquet file) and ``problem``.

    What keeps the whole work from being done (not one image) is a ``problem``, one line; an exception would be tried
    again and again.
    """

    def __init__(self, version: str, encoder: "EncoderCopy", device: str, workers: int, counter: Any) -> None:
        self._counter, self._problem, self._seen = counter, "", {}
        try:
            if version != __version__:
                raise UserError(f"simsiam-retrieval {__version__} is installed there, {version} here; make them equal")
            self._embedder = PieceEmbedder(Encoder(encoder.file(), device=device), workers)
        except UserError as error:
            self._problem = str(error)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        number, piece = row["number"], unpacked(row["piece"])
        problem = self._problem or self._unseen(piece.source) or self._hopeless(number, piece)
        if problem:
            problem = f"machine {socket.gethostname()} of the cluster: {problem}"
            return {"number": number, "shard": b"", "problem": problem}
        shard = self._embedder.embed(piece, lambda done: self._counter.at.remote(number, done))
        return {"number": number, "shard": shard, "problem": ""}

    def _hopeless(self, number: int, piece: Piece) -> str:
        """Why a piece is not tried again, after so many times."""
        import ray
        from ray.exceptions import RayError

        try:
            times: Any = ray.get(self._counter.begin.remote(number))
        except RayError:  # the counter was lost as well
            return ""
        return (
            ""
            if times <= TIMES
            else (f"the process was lost {TIMES} times over {piece.labels[0]} and those after it; out of memory?")
        )

    def _unseen(self, source: str) -> str:
        """Why this machine cannot read ``source``; asked once."""
        if source not in self._seen:
            there = is_url(source) or os.path.lexists(source)
            self._seen[source] = (
                ""
                if there
                else (
                    f"it does not see {source}; put the images where all machines see them under one name, "
                    "or on object storage"
                )
            )
        return self._seen[source]


class Counter:
    """How many images are done; a piece that is done again counts once."""

    def __init__(self) -> None:
        self._done: dict[int, int] = {}
        self._begun: dict[int, int] = {}

    def begin(self, number: int) -> int:
        """How often a piece was begun, this time included."""
        self._begun[number] = self._begun.get(number, 0) + 1
        return self._begun[number]

    def repeated(self) -> int:
        """Pieces that were begun more than once."""
        return sum(times > 1 for times in self._begun.values())

    def at(self, number: int, done: int) -> None:
        self._done[number] = max(done, self._done.get(number, 0))

    def total(self) -> int:
        return sum(self._done.values())


class EncoderCopy:
    """An encoder's file for machines that may not see the collection's folder."""

    def __init__(self, collection: Path, identity: str, content: Any) -> None:
        """``content``: Ray's reference to the file's bytes."""
        self._collection, self._identity, self._content = collection, identity, content

    def file(self) -> Path:
        """The collection's own file where this machine sees it, else a copy in this user's data directory."""
        import hashlib

        import ray

        for file in (self._collection / ENCODER_FILE, home() / "encoders" / f"{self._identity}.onnx"):
            try:
                if hashlib.sha256(file.read_bytes()).hexdigest()[:16] == self._identity:
                    return file
            except OSError:
                continue
        copy = home() / "encoders" / f"{self._identity}.onnx"
        try:
            copy.parent.mkdir(parents=True, exist_ok=True)
            with replacing(copy) as temporary:
                temporary.write_bytes(ray.get(self._content))
        except OSError as error:
            raise UserError(f"{copy}: cannot keep the encoder there ({error.strerror})") from None
        return copy


def packed(piece: Piece) -> bytes:
    """A piece as it travels; names have much in common."""
    return zlib.compress(pickle.dumps(piece), 1)


def unpacked(content: bytes) -> Piece:
    """The opposite of :func:`packed`; only for what this package packed."""
    return pickle.loads(zlib.decompress(content))
