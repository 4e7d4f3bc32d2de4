"""The actors on a cluster's machines: one kind embeds pieces into shards, one counts the progress."""

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

TIMES = 8  # attempts at a piece; then a piece that kills every process is given up


class Embedder:
    """Actor that embeds pieces: rows with ``number`` and ``piece`` -> rows with ``number``, ``shard`` and ``problem``.

    ``piece`` is packed (``packed``); ``shard`` is the bytes of a Parquet file. ``problem`` is one line, set if the
    whole work cannot be done (not just one image). An exception instead would make Ray repeat the row endlessly.
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
        """Embed one piece.

        Args:
            row: "number" and "piece".

        Returns:
            "number", "shard" and "problem".
        """
        number, piece = row["number"], unpacked(row["piece"])
        problem = self._problem or self._unseen(piece.source) or self._hopeless(number, piece)
        if problem:
            problem = f"machine {socket.gethostname()} of the cluster: {problem}"
            return {"number": number, "shard": b"", "problem": problem}
        shard = self._embedder.embed(piece, lambda done: self._counter.at.remote(number, done))
        return {"number": number, "shard": shard, "problem": ""}

    def _hopeless(self, number: int, piece: Piece) -> str:
        """Why a piece is not tried again, after so many attempts."""
        import ray
        from ray.exceptions import RayError

        try:
            times: Any = ray.get(self._counter.begin.remote(number))
        except RayError:  # the counter was lost, too
            return ""
        return (
            ""
            if times <= TIMES
            else (f"the process was lost {TIMES} times over {piece.labels[0]} and those after it; out of memory?")
        )

    def _unseen(self, source: str) -> str:
        """Why this machine cannot read ``source``; checked once per source."""
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
    """Actor that counts finished images. Images of a repeated piece are counted once."""

    def __init__(self) -> None:
        self._done: dict[int, int] = {}
        self._begun: dict[int, int] = {}

    def begin(self, number: int) -> int:
        """Record that a piece is begun.

        Args:
            number: Number of the piece.

        Returns:
            How often it was begun, including this time.
        """
        self._begun[number] = self._begun.get(number, 0) + 1
        return self._begun[number]

    def repeated(self) -> int:
        """Count the pieces that were begun more than once.

        Returns:
            Number of pieces.
        """
        return sum(times > 1 for times in self._begun.values())

    def at(self, number: int, done: int) -> None:
        """Record the progress of a piece.

        Args:
            number: Number of the piece.
            done: Finished images of the piece.
        """
        self._done[number] = max(done, self._done.get(number, 0))

    def total(self) -> int:
        """Count the finished images of all pieces.

        Returns:
            Number of images.
        """
        return sum(self._done.values())


class EncoderCopy:
    """An encoder's file for machines that may not see the collection's folder.

    Args:
        collection: The collection's folder.
        identity: Identity of the encoder.
        content: Ray's reference to the bytes of the file.
    """

    def __init__(self, collection: Path, identity: str, content: Any) -> None:
        self._collection, self._identity, self._content = collection, identity, content

    def file(self) -> Path:
        """Return a local file of the encoder.

        Returns:
            The collection's own file if this machine sees it, otherwise a copy in this user's data directory.

        Raises:
            UserError: The copy cannot be written.
        """
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
    """Serialise and compress a piece. Its file names have much in common, so it compresses well.

    Args:
        piece: The piece.

    Returns:
        Bytes for ``unpacked``.
    """
    return zlib.compress(pickle.dumps(piece), 1)


def unpacked(content: bytes) -> Piece:
    """Restore a piece. Only for bytes from ``packed``, because it unpickles.

    Args:
        content: The bytes.

    Returns:
        The piece.
    """
    return pickle.loads(zlib.decompress(content))
