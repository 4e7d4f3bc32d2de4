"""Whether a collection's files agree with each other and with themselves, and what can be mended."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..index.vector_index import VectorIndex
from . import vector_bytes
from .finding import Finding
from .sqlite_store import SqliteStore

UNIT = 1e-3  # a stored vector's length may differ from 1 by this; float32 sums are far closer
ROUNDED = 0.99  # cosine at least, between a vector and its 8-bit or 16-bit version
BATCH = 4096  # vectors compared at a time


# id, path, digest, vector, thumbnail, whether its checksum fits (None: it has none)
_Stored = tuple[int, Path, bytes | None, bytes | None, bytes | None, bool | None]


REREAD = "forgotten; the next update reads it again"
CHANGED = "what is stored of it does not fit its checksum"


def damaged_items(
    catalog: SqliteStore, dim: int, index: VectorIndex | None, *, believed: bool = True
) -> tuple[list[Finding], int]:
    """Find images whose row, vector or thumbnail cannot be right.

    Each row has a checksum of all that is stored of its file, and each vector is there twice, in the catalog and in
    the FAISS file (if there is a readable ``index``): a byte that changed anywhere shows. Where they differ, a row
    that fits its checksum is right. Of a row without one, which an older version wrote, nobody can say which is right,
    unless the FAISS file does not fit its own checksum. In an index of rounded vectors only larger changes show.

    Args:
        catalog: The catalog.
        dim: Values per vector.
        index: The readable FAISS index, or None.
        believed: Whether the FAISS file fits its own checksum.

    Returns:
        The damaged images, and how many vectors only the FAISS file has wrong.
    """
    found: dict[Path, Finding] = {}
    wrong_copies = 0
    for batch in _batches(catalog.stored()):
        differing = _differing(batch, dim, index)
        for row in batch:
            id_, path, fits = row[0], row[1], row[-1]
            problem = _problem(row, dim)
            if problem is None and id_ in differing and not fits and (believed or fits is False):
                problem = "its vector differs between the catalog and the FAISS file"
            elif problem is None and fits is False:
                problem = CHANGED
            if problem is not None:
                found[path] = Finding(path, problem, REREAD)
            elif id_ in differing:
                wrong_copies += 1
    for path in catalog.other_changed_rows():
        found.setdefault(path, Finding(path, CHANGED, REREAD))
    return sorted(found.values()), wrong_copies


def _batches(rows: Iterator[_Stored]) -> Iterator[list[_Stored]]:
    while batch := list(islice(rows, BATCH)):
        yield batch


def _problem(row: _Stored, dim: int) -> str | None:
    """What shows without a checksum and a copy."""
    _, _, digest, vector, thumbnail, _ = row
    if not isinstance(vector, bytes) or (values := vector_bytes.from_bytes(vector, dim)) is None:
        return "its vector is missing, damaged or has the wrong length"
    with np.errstate(over="ignore", invalid="ignore"):
        length = float(np.linalg.norm(values.astype(np.float64)))
    if not abs(length - 1) <= UNIT:  # so that NaN counts
        return f"its vector is damaged (length {length:g} instead of 1)"
    if not isinstance(digest, bytes) or len(digest) != 32:
        return "its hash is missing or has the wrong length"
    if not _is_jpeg(thumbnail):
        return "its thumbnail is missing or damaged"
    return None


def _differing(batch: list[_Stored], dim: int, index: VectorIndex | None) -> set[int]:
    """Ids of the rows whose vector is another one in ``index``."""
    if index is None:
        return set()
    held = index.vectors([id_ for id_, *_ in batch])
    return {
        id_
        for (id_, _, _, vector, *_), copy in zip(batch, held, strict=True)
        if isinstance(vector, bytes)
        and (values := vector_bytes.from_bytes(vector, dim)) is not None
        and not _equal(copy, values, rounded=index.rounded)
    }


def _equal(held: NDArray[np.float32], stored: NDArray[np.float32], *, rounded: bool) -> bool:
    if not rounded:
        return np.array_equal(held, stored)
    return float(held @ stored) >= ROUNDED * float(np.linalg.norm(held))


def _is_jpeg(content: bytes | None) -> bool:
    return isinstance(content, bytes) and content.startswith(b"\xff\xd8") and content.endswith(b"\xff\xd9")


def index_problem(index: VectorIndex | None, catalog: SqliteStore, dim: int) -> str | None:
    """Check the FAISS file of the published generation.

    Args:
        index: The index; None if it cannot be read.
        catalog: The catalog.
        dim: Values per vector.

    Returns:
        What is wrong with it, or None.
    """
    if index is None:
        return "missing or cannot be read"
    if not index.holds(catalog.ids(), dim):
        return "made from other images than those in the catalog"
    return None
