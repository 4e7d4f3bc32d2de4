"""Many files -> the centre squares of their pictures, in worker processes; no torch, so that these start fast."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ..images.decode import ImageError, centre_square, decode
from ..images.files import ImageFile
from ..images.worker_pool import map_chunks

Square = NDArray[np.uint8]  # (side, side, 3), RGB


def decode_side(side: int) -> int:
    """The short side down to which a JPEG may be decoded before its square is taken; an encoder's own rule."""
    return max(2 * side, 256)


def read_squares(files: Sequence[ImageFile], side: int, *, workers: int | None = None) -> Iterator[list[Square | str]]:
    """Yield, chunk by chunk and in order, each file's centre square, or the reason why there is none."""
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
