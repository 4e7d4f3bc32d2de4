"""The centre squares of many image files, computed in worker processes. Imports no torch, for a fast start."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ..images.decode import ImageError, centre_square, decode
from ..images.files import ImageFile
from ..images.worker_pool import map_chunks

Square = NDArray[np.uint8]  # (side, side, 3), RGB


def decode_side(side: int) -> int:
    """Return the short side down to which a JPEG may be decoded before its square is cropped.

    Encoders use the same rule.

    Args:
        side: Side of the square in pixels.

    Returns:
        Pixels.
    """
    return max(2 * side, 256)


def read_squares(files: Sequence[ImageFile], side: int, *, workers: int | None = None) -> Iterator[list[Square | str]]:
    """Read the centre squares of image files.

    Args:
        files: The files.
        side: Side of the squares in pixels.
        workers: Number of worker processes; None chooses it.

    Yields:
        In chunks and in order: each file's square, uint8 (side, side, 3), or the reason why there is none.
    """
    yield from map_chunks(
        _read, [(file, side) for file in files], lost=lambda item, reason: reason, workers=workers, chunk_size=32
    )


def _read(items: list[tuple[ImageFile, int]]) -> list[Square | str]:
    results: list[Square | str] = []
    for file, side in items:
        try:
            results.append(np.asarray(centre_square(decode(file.path, short_side=decode_side(side)), side)))
        except ImageError as error:
            results.append(str(error))
    return results
