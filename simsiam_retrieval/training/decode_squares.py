"""Decoding training images to squares in worker processes."""

import hashlib
from collections.abc import Generator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..images.decode import ImageError, read_image
from ..images.files import ImageFile
from ..images.tar_archives import ShardMember, read_member
from ..images.worker_pool import map_chunks

DIGEST_BYTES = 32  # SHA-256
CHUNK_SIZE = 32


class Square(NamedTuple):
    """A decoded image, squeezed into a square.

    Attributes:
        pixels: uint8 (side, side, 3).
        aspect: Original width / height.
        digest: SHA-256 of the pixels.
    """

    pixels: NDArray[np.uint8]
    aspect: float
    digest: bytes


class Refused(NamedTuple):
    """An image that cannot be used.

    Attributes:
        reason: Why.
        lasting: Whether the same bytes will be refused at the next attempt, too.
    """

    reason: str
    lasting: bool


def decode_squares(
    files: Sequence[ImageFile], side: int, *, workers: int | None
) -> Generator[list[Square | Refused], None, None]:
    """Decode images.

    Args:
        files: The images.
        side: Side of the squares in pixels.
        workers: Number of worker processes; None chooses it.

    Yields:
        The results in order, in lists of up to ``CHUNK_SIZE``.
    """
    yield from map_chunks(
        _decode_chunk,
        [(file, side) for file in files],
        lost=lambda item, reason: Refused(
            reason, False
        ),  # the cause may be temporary: a suspended machine, or lack of memory
        workers=workers,
        chunk_size=CHUNK_SIZE,
    )


def _decode_chunk(items: list[tuple[ImageFile, int]]) -> list[Square | Refused]:
    results: list[Square | Refused] = []
    for file, side in items:
        try:
            source = read_member(file) if isinstance(file, ShardMember) else file.path
            decoded = read_image(source, short_side=2 * side)
        except ImageError as error:
            results.append(Refused(str(error), error.lasting))
            continue
        square = decoded.image.resize((side, side), Image.Resampling.BILINEAR)
        pixels = np.asarray(square)
        results.append(Square(pixels, decoded.width / decoded.height, hashlib.sha256(pixels.tobytes()).digest()))
    return results
