"""Pairs of pictures whose thumbnails have similar difference hashes, whatever their vectors say.

A text across a picture, or very hard compression, moves its vector more than its coarse light and dark.
"""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...images.difference_hash import BITS, difference_hash
from ..storage.store import Store

NEAR = 24  # bits of the 128 by which the hashes of two candidates may differ; see docs/duplicates.md
PARTNERS = 3  # pictures before it with which each picture is compared by pixels, the closest first
NEAREST = 16  # pictures that are looked at for these
BLOCK = 4096
SMALL = 64  # pixels; the decoder leaves out the finer details


def thumbnail_hashes(catalog: Store, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Hash the thumbnails of images.

    Args:
        catalog: The catalog.
        ids: Item ids, int64 (n,).

    Returns:
        Positions in ``ids`` of those with a thumbnail that can be read, int64 (m,), and hashes, uint8 (m, 16).
    """
    rows, hashes = [], []
    for row, id_ in enumerate(ids.tolist()):
        jpeg = catalog.thumbnail(id_)
        if not jpeg:
            continue
        try:
            with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:
                image.draft("L", (SMALL, SMALL))
                hashes.append(difference_hash(image))
        except (OSError, ValueError):
            continue  # a damaged thumbnail: there are candidates by vectors still
        rows.append(row)
    return np.array(rows, np.int64), np.array(hashes, np.uint8).reshape(-1, BITS // 8)


def hash_pairs(hashes: NDArray[np.uint8], near: int = NEAR, partners: int = PARTNERS) -> list[tuple[int, int]]:
    """Find for each picture the closest ones before it.

    Args:
        hashes: uint8 (n, 16).
        near: Largest number of different bits.
        partners: Largest number of pictures before each.

    Returns:
        Pairs of rows, the earlier one first; the closest of each row first.
    """
    import faiss

    pairs: list[tuple[int, int]] = []
    if len(hashes) < 2:
        return pairs
    index = faiss.IndexBinaryFlat(8 * hashes.shape[1])
    index.add(np.ascontiguousarray(hashes))
    for start in range(0, len(hashes), BLOCK):
        block = np.ascontiguousarray(hashes[start : start + BLOCK])
        distances, found = index.search(block, min(NEAREST, len(hashes)))
        for row, (apart, others) in enumerate(zip(distances.tolist(), found.tolist(), strict=True), start):
            before = [other for other, bits in zip(others, apart, strict=True) if other < row and bits <= near]
            pairs += [(other, row) for other in before[:partners]]
    return pairs
