"""The centre squares of many image files, computed in worker processes. Imports no torch, for a fast start."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ..images.decode import ImageError, read_image, square_of
from ..images.files import ImageFile
from ..images.reading import AS_THEY_ARE, Reading
from ..images.worker_pool import map_chunks

Square = NDArray[np.uint8]  # (side, side, channels), RGB unless the encoder takes others


def decode_side(side: int) -> int:
    """Return the short side down to which a JPEG may be decoded before its square is cropped.

    Encoders use the same rule.

    Args:
        side: Side of the square in pixels.

    Returns:
        Pixels.
    """
    return max(2 * side, 256)


def read_squares(
    files: Sequence[ImageFile], side: int, *, workers: int | None = None, reading: Reading = AS_THEY_ARE
) -> Iterator[list[Square | str]]:
    """Read the centre squares of image files.

    Args:
        files: The files.
        side: Side of the squares in pixels.
        workers: Number of worker processes; None chooses it.
        reading: How files become pixels.

    Yields:
        In chunks and in order: each file's square, uint8 (side, side, channels), or the reason why there is none.
    """
    yield from map_chunks(
        _read,
        [(file, side, reading) for file in files],
        lost=lambda item, reason: reason,
        workers=workers,
        chunk_size=32,
    )


def _read(items: list[tuple[ImageFile, int, Reading]]) -> list[Square | str]:
    results: list[Square | str] = []
    for file, side, reading in items:
        try:
            results.append(square_of(read_image(file.path, decode_side(side), reading), side))
        except ImageError as error:
            results.append(str(error))
    return results
