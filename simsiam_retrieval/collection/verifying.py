"""Whether a collection's files agree with each other and with themselves, and what can be mended."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .catalog import FILE, Catalog
from .vector_index import VectorIndex

UNIT = 1e-3  # a stored vector's length may differ from 1 by this; float32 sums are far closer
ROUNDED = 0.999  # cosine at least, between a vector and its 8-bit or 16-bit version
BATCH = 4096  # vectors compared at a time


_Stored = tuple[int, Path, bytes | None, bytes | None, bytes | None]  # id, path, digest, vector, thumbnail


class Finding(NamedTuple):
    """Something that was wrong."""

    subject: Path  # the image, or the collection's own file
    problem: str
    repair: str


REREAD = "forgotten; the next update reads it again"


def damaged_items(catalog: Catalog, dim: int, index: VectorIndex | None) -> Iterator[Finding]:
    """Images whose row, vector or thumbnail cannot be right.

    Each row has a checksum of all that is stored of its file, and each vector is there twice, in the catalog and in
    the FAISS file (if there is a readable ``index``): a byte that changed anywhere shows. Of an index of rounded
    vectors only larger changes do.

    Raises :class:`UserError` when SQLite finds its own pages damaged.
    """
    complaints = catalog.integrity()
    if complaints:
        raise UserError(
            f"{catalog.folder / FILE}: damaged ({complaints[0]}; {len(complaints)} complaints in all); "
            "delete the collection and index again"
        )
    named = set()
    for finding in _damaged_rows(catalog, dim, index):
        named.add(finding.subject)
        yield finding
    for path in catalog.changed_rows():
        if path not in named:
            yield Finding(path, "what is stored of it does not fit its checksum", REREAD)


def _damaged_rows(catalog: Catalog, dim: int, index: VectorIndex | None) -> Iterator[Finding]:
    batch = []
    for row in catalog.stored():
        batch.append(row)
        if len(batch) == BATCH:
            yield from _damaged(batch, dim, index)
            batch = []
    yield from _damaged(batch, dim, index)


def _damaged(
    batch: list[tuple[int, Path, bytes | None, bytes | None, bytes | None]], dim: int, index: VectorIndex | None
) -> list[Finding]:
    found = []
    held = None if index is None else index.vectors([id_ for id_, *_ in batch])
    for number, (_, path, digest, vector, thumbnail) in enumerate(batch):
        problem = None
        if vector is None or not isinstance(vector, bytes) or len(vector) != 4 * dim:
            problem = "its vector is missing or has the wrong length"
        else:
            values = np.frombuffer(vector, "<f4")
            with np.errstate(over="ignore", invalid="ignore"):
                length = float(np.linalg.norm(values.astype(np.float64)))
            if not abs(length - 1) <= UNIT:  # so that NaN counts
                problem = f"its vector is damaged (length {length:g} instead of 1)"
            elif held is not None and not _equal(held[number], values, rounded=index is not None and index.rounded):
                problem = "its vector differs between the catalog and the FAISS file"
        if problem is None and (not isinstance(digest, bytes) or len(digest) != 32):
            problem = "its hash is missing or has the wrong length"
        if problem is None and not _is_jpeg(thumbnail):
            problem = "its thumbnail is missing or damaged"
        if problem is not None:
            found.append(Finding(path, problem, REREAD))
    return found


def _equal(held: NDArray[np.float32], stored: NDArray[np.float32], *, rounded: bool) -> bool:
    if not rounded:
        return np.array_equal(held, stored)
    return float(held @ stored) >= ROUNDED * float(np.linalg.norm(held))


def _is_jpeg(content: bytes | None) -> bool:
    return isinstance(content, bytes) and content.startswith(b"\xff\xd8") and content.endswith(b"\xff\xd9")


def index_problem(index: VectorIndex | None, catalog: Catalog, dim: int) -> str | None:
    """What is wrong with the FAISS file of the published generation, or None."""
    if index is None:
        return "missing or cannot be read"
    if not index.holds(catalog.ids(), dim):
        return "made from other images than those in the catalog"
    return None
