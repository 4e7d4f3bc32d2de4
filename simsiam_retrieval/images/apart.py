"""Decoding single files in a separate process: a file that hangs or crashes the decoder does not stop a server."""

import atexit
import threading
from pathlib import Path

from .decode import Decoded, ImageError, read_image
from .reading import AS_THEY_ARE, Reading
from .worker_pool import Workers

SECONDS = 30.0  # time limit for one file; a user is waiting for it

_lock = threading.Lock()
_workers: Workers | None = None


def read_image_apart(
    source: Path | bytes,
    short_side: int | None = None,
    reading: Reading = AS_THEY_ARE,
    *,
    seconds: float = SECONDS,
) -> Decoded:
    """Run ``decode.read_image`` in a worker process, which is kept for the next call. Thread-safe.

    Args:
        source: Path or bytes of the file.
        short_side: See ``decode.read_image``.
        seconds: Time limit.
        reading: See ``decode.read_image``.

    Returns:
        The decoded file.

    Raises:
        ImageError: The file cannot be decoded, or not within ``seconds``.
    """
    chunks = _pool().map_chunks(
        _read, [(source, short_side, reading)], lost=_lost, chunk_size=1, seconds_per_item=seconds
    )
    [[found]] = chunks
    if isinstance(found, ImageError):
        raise found
    return found


def start() -> None:
    """Start the worker process before it is needed."""
    for _ in _pool().map_chunks(_read, [(b"", None, AS_THEY_ARE)], lost=_lost, chunk_size=1):
        pass


def _pool() -> Workers:
    global _workers
    with _lock:
        if _workers is None:
            _workers = Workers(1)
            atexit.register(_workers.__exit__)
        return _workers


def _read(sources: list[tuple[Path | bytes, int | None, Reading]]) -> list[Decoded | ImageError]:
    return [_read_one(*source) for source in sources]


def _read_one(source: Path | bytes, short_side: int | None, reading: Reading) -> Decoded | ImageError:
    try:
        return read_image(source, short_side, reading)
    except ImageError as error:
        return error


def _lost(source: object, reason: str) -> ImageError:
    return ImageError(reason, lasting=False)
