"""Decoding training images to squares in worker processes."""

import hashlib
from collections.abc import Generator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..images.decode import Decoded, ImageError, read_image
from ..images.files import ImageFile
from ..images.reading import AS_THEY_ARE, Reading
from ..images.tar_archives import ShardMember, read_member
from ..images.worker_pool import map_chunks

DIGEST_BYTES = 32  # SHA-256
CHUNK_SIZE = 32


class Square(NamedTuple):
    """A decoded image, squeezed into a square.

    Attributes:
        pixels: uint8 (side, side, channels).
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
    files: Sequence[ImageFile], side: int, *, workers: int | None, reading: Reading = AS_THEY_ARE
) -> Generator[list[Square | Refused], None, None]:
    """Decode images.

    Args:
        files: The images.
        side: Side of the squares in pixels.
        workers: Number of worker processes; None chooses it.
        reading: How files become pixels.

    Yields:
        The results in order, in lists of up to ``CHUNK_SIZE``.
    """
    yield from map_chunks(
        _decode_chunk,
        [(file, side, reading) for file in files],
        # the cause may be temporary: a suspended machine, or lack of memory
        lost=lambda item, reason: Refused(reason, False),
        workers=workers,
        chunk_size=CHUNK_SIZE,
    )


def _decode_chunk(items: list[tuple[ImageFile, int, Reading]]) -> list[Square | Refused]:
    results: list[Square | Refused] = []
    for file, side, reading in items:
        try:
            source = read_member(file) if isinstance(file, ShardMember) else file.path
            decoded = read_image(source, 2 * side, reading)
        except ImageError as error:
            results.append(Refused(str(error), error.lasting))
            continue
        pixels = _squashed(decoded, side)
        results.append(Square(pixels, decoded.width / decoded.height, hashlib.sha256(pixels.tobytes()).digest()))
    return results


def _squashed(decoded: Decoded, side: int) -> NDArray[np.uint8]:
    if decoded.planes is None:
        return np.asarray(decoded.image.resize((side, side), Image.Resampling.BILINEAR))
    planes = [Image.fromarray(np.ascontiguousarray(plane)) for plane in np.moveaxis(decoded.planes, 2, 0)]
    return np.stack([np.asarray(plane.resize((side, side), Image.Resampling.BILINEAR)) for plane in planes], axis=2)
