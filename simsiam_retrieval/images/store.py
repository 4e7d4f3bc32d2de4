"""All training images decoded once and held as uint8, so that an epoch never touches a file."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import UserError
from .decode import ImageError, read_image
from .files import ImageFile
from .pool import map_chunks


@dataclass
class ImageStore:
    """Decoded images, each squashed to a square, with the aspect ratio it had.

    Squashing keeps the whole picture in a rectangular array; random crops are drawn in the original geometry
    and mapped into the square, so that nothing the network sees is distorted.
    """

    pixels: np.ndarray  # uint8 (n, 3, side, side)
    aspect: np.ndarray  # float32 (n,), original width / height
    files: list[ImageFile]  # the n files behind the rows
    rejected: list[tuple[Path, str]]  # files that could not be used, with the reason

    def __len__(self) -> int:
        return len(self.files)

    def fingerprint(self) -> str:
        """A short hash of what was read: the pixels of every row, in order."""
        digest = hashlib.sha256(str(self.pixels.shape).encode())
        for row in self.pixels:
            digest.update(row)
        return digest.hexdigest()[:16]


def load_store(
    files: Sequence[ImageFile],
    side: int,
    *,
    workers: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> ImageStore:
    """Decode ``files`` into an :class:`ImageStore` of ``side`` x ``side`` squares.

    Memory: 3 * side**2 bytes an image. What would take more than half of the free memory goes to an unnamed
    temporary file, which the system pages in as needed and removes with the process.

    Raises :class:`UserError` when not one file can be decoded or the disk is full.
    """
    pixels = _allocate(len(files), side)
    aspect = np.zeros(len(files), np.float32)
    kept: list[ImageFile] = []
    rejected: list[tuple[Path, str]] = []
    done = 0
    for results in map_chunks(
        _decode_chunk,
        [(file.path, side) for file in files],
        lost=lambda item, reason: reason,
        workers=workers,
        chunk_size=32,
    ):
        for result in results:
            if isinstance(result, str):
                rejected.append((files[done].path, result))
            else:
                pixels[len(kept)], aspect[len(kept)] = result
                kept.append(files[done])
            done += 1
        progress(len(results))
    if not kept:
        reason = f"; the first: {rejected[0][0]}: {rejected[0][1]}" if rejected else ""
        raise UserError(f"none of the {len(files)} image files could be read{reason}")
    return ImageStore(pixels[: len(kept)], aspect[: len(kept)], kept, rejected)


def _decode_chunk(items: list[tuple[Path, int]]) -> list[tuple[np.ndarray, float] | str]:
    results: list[tuple[np.ndarray, float] | str] = []
    for path, side in items:
        try:
            decoded = read_image(path, short_side=2 * side)
            square = decoded.image.resize((side, side), Image.Resampling.BILINEAR)
            results.append(
                (np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1)), decoded.width / decoded.height)
            )
        except ImageError as error:
            results.append(str(error))
    return results


def _allocate(count: int, side: int) -> np.ndarray:
    shape = (count, 3, side, side)
    size = count * 3 * side * side
    if size < _free_memory() / 2:
        return np.empty(shape, np.uint8)
    with tempfile.TemporaryFile() as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)  # a full disk shows now, not as a bus error in epoch 3
        except OSError as error:
            raise UserError(
                f"{count} images at {side} px need {size / 1e9:.0f} GB and neither memory nor "
                f"{tempfile.gettempdir()} has room ({error.strerror}); set TMPDIR or a smaller --image-size"
            ) from None
        return np.memmap(file, np.uint8, "r+", shape=shape)


def _free_memory() -> int:
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 4 << 30
