"""Leaving out near-duplicates before training: a photo that is there five times would count five times."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..images.difference_hash import difference_hash
from .pixel_store import ImageStore, OrderedRows

NEAR = 12  # bits of the 128 by which the hashes of two candidates may differ
CANDIDATES = 8  # images before it with which each image is compared by its pixels, the closest first
BLOCK = 4096


@dataclass(frozen=True)
class Thinned:
    """What is left of the images.

    Attributes:
        store: The images without copies of earlier ones.
        same: Number of images left out that have exactly the pixels of an earlier one.
        near: Number of images left out that are the same picture in another size or quality.
    """

    store: ImageStore
    same: int
    near: int


def thinned(store: ImageStore) -> Thinned:
    """Leave out images that are copies of earlier ones: equal squares, or resized and recompressed ones.

    The pixels of a store in memory are moved within it; use only the result.

    Candidates have similar difference hashes (128 bits, from brightness); whether they are copies is decided by their
    pixels, as ``duplicates`` does it. Crops and edits stay, and so do similar pictures. Images with other channels than
    red, green and blue are only compared exactly.

    Args:
        store: The images.

    Returns:
        What is left, in the same order.
    """
    first: dict[bytes, int] = {}
    leader = np.array([first.setdefault(digest.tobytes(), row) for row, digest in enumerate(store.digests)], np.int64)
    distinct = np.flatnonzero(leader == np.arange(len(store)))
    copies = _near_copies(store, distinct) if store.pixels.shape[-1] == 3 else set()
    kept = np.array([row for row in distinct.tolist() if row not in copies], np.int64)
    return Thinned(_taken(store, kept), len(store) - len(distinct), len(copies))


def _near_copies(store: ImageStore, rows: NDArray[np.int64]) -> set[int]:
    """Rows that are copies of earlier ones, which are none themselves."""
    from ..collection.duplicates.pixels.kinds import RESIZED
    from ..collection.duplicates.pixels.picture import Picture
    from ..collection.duplicates.pixels.verdict import verdict
    from ..collection.index import faiss_when_used as faiss

    hashes = np.stack([difference_hash(_image(store, row)) for row in rows.tolist()])
    index = faiss.IndexBinaryFlat(hashes.shape[1] * 8)
    index.add(hashes)
    copies: set[int] = set()
    for start in range(0, len(rows), BLOCK):
        distances, found = index.search(hashes[start : start + BLOCK], min(4 * CANDIDATES, len(rows)))
        for place, (near, others) in enumerate(zip(distances, found, strict=True), start):
            row = int(rows[place])
            before = [int(rows[other]) for other, d in zip(others, near, strict=True) if other < place and d <= NEAR]
            before = [other for other in before if other not in copies][:CANDIDATES]
            if before:
                picture = _square(store, row, Picture)
                if any(verdict(_square(store, other, Picture), picture).kind == RESIZED for other in before):
                    copies.add(row)
    return copies


def _square(store: ImageStore, row: int, picture: type):
    return picture(_image(store, row))


def _image(store: ImageStore, row: int) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(store.pixels[row]))


def _taken(store: ImageStore, rows: NDArray[np.int64]) -> ImageStore:
    if len(rows) == len(store):
        return store
    if isinstance(store.pixels, OrderedRows):
        pixels = store.pixels.taken(rows)
    elif store.in_file:
        pixels = OrderedRows(store.pixels, rows)
    else:
        pixels = store.pixels
        for place, row in enumerate(rows.tolist()):  # within the array: a copy may not fit into memory
            pixels[place] = pixels[row]
        pixels = pixels[: len(rows)]
    files = [store.files[row] for row in rows.tolist()]
    return replace(store, pixels=pixels, aspect=store.aspect[rows], digests=store.digests[rows], files=files)
