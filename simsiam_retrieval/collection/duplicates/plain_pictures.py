"""Pictures of one colour, recognised by their thumbnails: they look similar, whatever they show."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...images.plain_images import is_plain
from ..storage.store import Store

HEADER, BLOCK = 800, 2.0  # largest size in bytes of a plain JPEG: for its header, and per 8 x 8 block of a channel


def without_plain(catalog: Store, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Set the vectors of plain pictures to zero, in place, so that they are close to nothing.

    A plain picture is only a duplicate of files with equal bytes. Only thumbnails that are small enough for a plain
    JPEG of their size are decoded.

    Args:
        catalog: The catalog.
        ids: int64 (n,).
        vectors: float32 (n, dim).

    Returns:
        ``vectors``.
    """
    plain = [id_ for id_, width, height, length in catalog.thumbnail_lengths() if _may_be_plain(width, height, length)]
    found = [id_ for id_ in plain if _shows_nothing(catalog.thumbnail(id_))]
    vectors[np.isin(ids, found)] = 0
    return vectors


def _may_be_plain(width: int, height: int, length: int) -> bool:
    from ...images.file_facts import THUMBNAIL_SIDE

    factor = max(1, max(width, height) // THUMBNAIL_SIDE)
    blocks = 3 * (width // factor // 8 + 2) * (height // factor // 8 + 2)
    return length <= HEADER + BLOCK * blocks


def _shows_nothing(jpeg: bytes | None) -> bool:
    if jpeg is None:
        return False
    try:
        with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:
            return is_plain(image.convert("RGB"))
    except (OSError, ValueError):
        return False
