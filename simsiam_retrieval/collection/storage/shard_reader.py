"""Reading vectors and thumbnails directly from the shards' bytes: no Parquet reader, no copy, few reads per search."""

import hashlib
import os
from collections import OrderedDict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...core.errors import UserError
from .shard_file import shard_file

OPEN_FILES = 256  # files that are kept open; a collection may have many more shards
TOGETHER = 4  # rows within a range of this many times their number are read in one piece
_TAIL = 8  # bytes at the end of a Parquet file: the footer's length, and the magic number


def footer_identity(file: Path) -> tuple[int, str]:
    """Identify a shard by its size and the hash of its footer, which differs for different rows.

    Args:
        file: The shard.

    Returns:
        Size in bytes, and the hash.

    Raises:
        UserError: It cannot be read.
    """
    try:
        handle = os.open(file, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}; put it back, or build the collection without it") from None
    try:
        return os.fstat(handle).st_size, _footer_hash(handle)
    finally:
        os.close(handle)


class ShardReader:
    """Reads from the shards of one collection. Not thread-safe.

    Args:
        collection: The collection's folder.
    """

    def __init__(self, collection: Path) -> None:
        self._collection = collection
        self._open: OrderedDict[tuple[str, str], int] = OrderedDict()

    def close(self) -> None:
        """Close all files."""
        while self._open:
            os.close(self._open.popitem()[1])

    def vectors(self, name: str, identity: str, at: int, rows: NDArray[np.int64], dim: int) -> NDArray[np.float32]:
        """Read vectors of a row group, scaled to unit length, because they were rounded to float16.

        Args:
            name: Name of the shard.
            identity: Hash of its footer.
            at: Position of the row group's vectors.
            rows: int64 (n,), ascending, within the row group.
            dim: Values per vector.

        Returns:
            float32 (n, dim); zeros if a row has no vector.

        Raises:
            UserError: The shard is missing, or has changed since the build.
        """
        return unit(self.stored(name, identity, at, rows, dim))

    def stored(self, name: str, identity: str, at: int, rows: NDArray[np.int64], dim: int) -> NDArray[np.float16]:
        """Read vectors of a row group as they are stored.

        Args:
            name: Name of the shard.
            identity: Hash of its footer.
            at: Position of the row group's vectors.
            rows: int64 (n,), ascending, within the row group.
            dim: Values per vector.

        Returns:
            float16 (n, dim); zeros if a row has no vector.

        Raises:
            UserError: The shard is missing, or has changed since the build.
        """
        handle, size = self._handle(name, identity), 2 * dim
        first, last = int(rows[0]), int(rows[-1])
        if last - first < TOGETHER * len(rows):
            content = self._read(handle, name, at + first * size, (last - first + 1) * size)
            found = np.frombuffer(content, "<f2").reshape(-1, dim)[rows - first]
        else:
            content = b"".join(self._read(handle, name, at + row * size, size) for row in rows.tolist())
            found = np.frombuffer(content, "<f2").reshape(-1, dim)
        return found

    def content(self, name: str, identity: str, at: int, count: int) -> bytes:
        """Read bytes of a shard.

        Args:
            name: Name of the shard.
            identity: Hash of its footer.
            at: Position.
            count: Number of bytes.

        Returns:
            The bytes.

        Raises:
            UserError: As in ``vectors``.
        """
        return self._read(self._handle(name, identity), name, at, count)

    def _handle(self, name: str, identity: str) -> int:
        key = (name, identity)
        handle = self._open.get(key)
        if handle is None:
            file = shard_file(self._collection, name)
            try:
                handle = os.open(file, os.O_RDONLY)
            except OSError as error:
                raise self.trouble(name, f"cannot be opened ({error.strerror})") from None
            if _footer_hash(handle) != identity:
                os.close(handle)
                raise self.trouble(name, "has changed since the collection was built")
            self._open[key] = handle
            if len(self._open) > OPEN_FILES:
                os.close(self._open.popitem(last=False)[1])
        self._open.move_to_end(key)
        return handle

    def _read(self, handle: int, name: str, at: int, count: int) -> bytes:
        try:
            content = os.pread(handle, count, at)
        except OSError as error:
            raise self.trouble(name, f"cannot be read ({error.strerror})") from None
        if len(content) != count:
            raise self.trouble(name, "is shorter than it was when the collection was built")
        return content

    def trouble(self, name: str, what: str) -> UserError:
        """Return the error for a shard that something is wrong with.

        Args:
            name: Name of the shard.
            what: What is wrong.

        Returns:
            The error.
        """
        return UserError(
            f"{shard_file(self._collection, name)}: this shard {what}; put it back, or build the collection again: "
            "python -m simsiam_retrieval.index --rebuild-index --collection PATH"
        )


def unit(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Scale vectors to length 1; zeros stay zeros.

    Args:
        vectors: (n, dim).

    Returns:
        float32 (n, dim).
    """
    found = vectors.astype(np.float32)
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    found /= np.where(lengths > 0, lengths, 1)
    return found


def _footer_hash(handle: int) -> str:
    size = os.fstat(handle).st_size
    tail = os.pread(handle, _TAIL, max(0, size - _TAIL))
    length = int.from_bytes(tail[:4], "little") if len(tail) == _TAIL and tail[4:] == b"PAR1" else 0
    footer = os.pread(handle, length + _TAIL, max(0, size - _TAIL - length))
    return hashlib.sha256(footer + size.to_bytes(8, "little")).hexdigest()[:32]
