"""Inverted lists of int8 values that are compared as whole numbers: a quarter of the memory, and several times faster.

All vectors have one step, and the index is in units of it. Its centroids have the length of one divided by the step, so
FAISS's file needs no field for it. A query has a step of its own, which changes no order. FAISS's type for this
(``QT_8bit_direct_signed``) truncates and does not clip, so values are rounded and clipped here. Scores of candidates
are computed again from the catalog's vectors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import faiss
else:
    from . import faiss_when_used as faiss

CODES = 127  # codes on each side of 0
MARGIN = 1.1  # room for larger values of vectors that are added later
LISTS_PER_ROOT = 2  # lists per square root of the number of vectors
PER_LIST, ROUNDS = 39, 5  # vectors per list, and rounds, of k-means
BLOCK = 8192  # vectors rounded at a time
SEED = 1


def build(ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> faiss.IndexIVF:
    """Build the lists. Deterministic.

    Args:
        ids: int64 (n,).
        vectors: Unit vectors, float32 (n, dim).

    Returns:
        The index; use ``to_search`` for its queries, ``add`` for more vectors.
    """
    count, dim = vectors.shape
    lists = max(1, min(int(LISTS_PER_ROOT * count**0.5), count // PER_LIST))
    centroids, metric = faiss.IndexFlatIP(dim), faiss.METRIC_INNER_PRODUCT
    kind = faiss.ScalarQuantizer.QT_8bit_direct_signed
    index = faiss.IndexIVFScalarQuantizer(centroids, dim, lists, kind, metric, False)
    index.own_fields = True
    centroids.this.disown()  # pyright: ignore[reportAttributeAccessIssue]  # the index frees them
    index.cp.spherical, index.cp.seed, index.cp.niter = True, SEED, ROUNDS
    sample = np.random.default_rng(SEED).permutation(count)[: PER_LIST * lists]
    index.train(vectors[np.sort(sample)])
    largest = max((float(np.abs(vectors[at : at + BLOCK]).max()) for at in range(0, count, BLOCK)), default=0.0)
    if largest > 0:
        units = centroids.reconstruct_n(0, lists) * np.float32(CODES / (MARGIN * largest))
        centroids.reset()
        centroids.add(units)
    add(index, ids, vectors)
    return index


def are_int8(index: faiss.Index) -> bool:
    """Return whether an index is one of ``build``.

    Args:
        index: Any index.

    Returns:
        True if it is.
    """
    kind = faiss.ScalarQuantizer.QT_8bit_direct_signed
    return isinstance(index, faiss.IndexIVFScalarQuantizer) and index.sq.qtype == kind


def step_of(index: faiss.Index) -> float:
    """Return the step between two codes.

    Args:
        index: An index of ``build``.

    Returns:
        The step.
    """
    return 1 / float(np.linalg.norm(index.quantizer.reconstruct(0)))  # pyright: ignore[reportAttributeAccessIssue]


def add(index: faiss.Index, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
    """Add vectors to an index of ``build``.

    Args:
        index: The index.
        ids: int64 (n,).
        vectors: Unit vectors, float32 (n, dim).
    """
    step = step_of(index)
    for at in range(0, len(ids), BLOCK):
        whole = np.rint(vectors[at : at + BLOCK] / np.float32(step))
        index.add_with_ids(np.clip(whole, -CODES, CODES), ids[at : at + BLOCK])


def to_search(
    index: faiss.Index, queries: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32] | float]:
    """Convert queries to what is searched for.

    Args:
        index: Any index.
        queries: float32 (n, dim).

    Returns:
        Queries for FAISS, float32 (n, dim), and what its scores are to be multiplied by, (n, 1) or 1.
    """
    if not are_int8(index):
        return queries, 1.0
    units = np.abs(queries).max(axis=1, keepdims=True) / np.float32(CODES)
    units[units == 0] = 1
    return np.rint(queries / units), units * np.float32(step_of(index))


def as_floats(index: faiss.Index) -> faiss.IndexIVFFlat:
    """Copy an index of ``build`` into one of float32 values, for a GPU: FAISS has no signed 8-bit lists there.

    Args:
        index: The index.

    Returns:
        The copy. It takes queries as they are.
    """
    assert isinstance(index, faiss.IndexIVF)
    lists, step = index.invlists, np.float32(step_of(index))
    centroids = faiss.clone_index(index.quantizer)
    copy = faiss.IndexIVFFlat(centroids, index.d, index.nlist, faiss.METRIC_INNER_PRODUCT)
    copy.own_fields = True
    centroids.this.disown()  # pyright: ignore[reportAttributeAccessIssue]
    assert lists is not None and copy.invlists is not None
    for number in range(index.nlist):
        size = lists.list_size(number)
        if size:
            ids = np.array(faiss.rev_swig_ptr(lists.get_ids(number), size), np.int64)
            codes = faiss.rev_swig_ptr(lists.get_codes(number), size * index.d).reshape(size, index.d)
            values = (codes.astype(np.float32) - (CODES + 1)) * step
            copy.invlists.add_entries(
                number, size, faiss.swig_ptr(ids), faiss.swig_ptr(np.ascontiguousarray(values).view(np.uint8))
            )
    copy.ntotal, copy.nprobe, copy.is_trained = index.ntotal, index.nprobe, True
    return copy
