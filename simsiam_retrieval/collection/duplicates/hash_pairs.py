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
TURNS = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)
SMALL = 64  # pixels; the decoder leaves out the finer details


def thumbnail_hashes(catalog: Store, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Hash the thumbnails of images, upright and turned.

    Args:
        catalog: The catalog.
        ids: Item ids, int64 (n,).

    Returns:
        Positions in ``ids`` of those with a thumbnail that can be read, int64 (m,), and hashes of the thumbnail upright
        and turned by one to three quarters, uint8 (m, 4, 16).
    """
    rows, hashes = [], []
    for row, id_ in enumerate(ids.tolist()):
        jpeg = catalog.thumbnail(id_)
        if not jpeg:
            continue
        try:
            with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:
                image.draft("L", (SMALL, SMALL))
                grey = image.convert("L")
        except (OSError, ValueError):
            continue  # a damaged thumbnail: there are candidates by vectors still
        hashes.append([difference_hash(grey), *(difference_hash(grey.transpose(turn)) for turn in TURNS)])
        rows.append(row)
    return np.array(rows, np.int64), np.array(hashes, np.uint8).reshape(-1, 1 + len(TURNS), BITS // 8)


def hash_pairs(hashes: NDArray[np.uint8], near: int = NEAR, partners: int = PARTNERS) -> list[tuple[int, int]]:
    """Find for each picture the closest ones before it, in any of its orientations.

    Args:
        hashes: Of each picture upright, then turned, uint8 (n, orientations, 16).
        near: Largest number of different bits.
        partners: Largest number of pictures before each.

    Returns:
        Pairs of rows, the earlier one first; the closest of each row first.
    """
    from ..index import faiss_when_used as faiss

    pairs: list[tuple[int, int]] = []
    if len(hashes) < 2:
        return pairs
    index = faiss.IndexBinaryFlat(8 * hashes.shape[2])
    index.add(np.ascontiguousarray(hashes[:, 0]))
    for start in range(0, len(hashes), BLOCK):
        block = np.ascontiguousarray(hashes[start : start + BLOCK])
        count = min(NEAREST, len(hashes))
        distances, found = index.search(block.reshape(-1, hashes.shape[2]), count)
        places = zip(distances.reshape(len(block), -1).tolist(), found.reshape(len(block), -1).tolist(), strict=True)
        for row, (apart, others) in enumerate(places, start):
            before = sorted((bits, other) for bits, other in zip(apart, others, strict=True) if other < row)
            chosen = dict.fromkeys(other for bits, other in before if bits <= near)
            pairs += [(other, row) for other in list(chosen)[:partners]]
    return pairs
