"""How each index type is built by FAISS, and FAISS's objects told by their names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from . import int8_lists

if TYPE_CHECKING:
    import faiss
else:
    from . import faiss_when_used as faiss

HNSW_LINKS = 32  # M of Malkov & Yashunin 2016
HNSW_EF_CONSTRUCTION = 80
LISTS_PER_ROOT = 4  # inverted lists per square root of the number of vectors
FEWEST_PER_LIST = 39  # vectors per list; FAISS warns if there are fewer
TRAINED_ON = 64  # vectors per list for training k-means
VALUES_PER_CODE = 8  # values that product quantisation encodes in one byte
SEED = 1


def build(kind: str, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> faiss.Index:
    """Build a FAISS index with inner product.

    Deterministic: k-means and graph levels have fixed seeds. A graph built by several threads varies a little.

    Args:
        kind: The type, not "auto".
        ids: int64 (n,).
        vectors: Unit vectors, float32 (n, dim).

    Returns:
        The index.
    """
    count, dim = vectors.shape
    metric = faiss.METRIC_INNER_PRODUCT
    if kind == "ivf-sq8":
        return int8_lists.build(ids, vectors)
    if kind == "flat":
        index = faiss.IndexIDMap2(faiss.IndexFlatIP(dim))
    elif kind == "float16":
        index = faiss.IndexIDMap2(faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, metric))
    elif kind == "hnsw":
        graph = faiss.IndexHNSWFlat(dim, HNSW_LINKS, metric)
        graph.hnsw.efConstruction = HNSW_EF_CONSTRUCTION
        index = faiss.IndexIDMap2(graph)
    else:
        index = inverted_lists(kind, dim, max(1, min(int(LISTS_PER_ROOT * count**0.5), most_lists(count))))
        sample = np.random.default_rng(SEED).permutation(count)[: TRAINED_ON * index.nlist]
        index.train(vectors[np.sort(sample)])
    index.add_with_ids(vectors, ids)
    return index


def most_lists(count: int) -> int:
    """Return the largest number of lists for a number of vectors.

    Args:
        count: Number of vectors.

    Returns:
        Number of lists.
    """
    return count // FEWEST_PER_LIST


def inverted_lists(kind: str, dim: int, lists: int) -> faiss.IndexIVF:
    """Create an empty, untrained index of inverted lists with inner product; "ivf-sq8" is that of sharded collections.

    Args:
        kind: "ivf", "ivf-sq8" or "ivf-pq".
        dim: Values per vector.
        lists: Number of lists.

    Returns:
        The index.
    """
    centroids, metric = faiss.IndexFlatIP(dim), faiss.METRIC_INNER_PRODUCT
    if kind == "ivf":
        index = faiss.IndexIVFFlat(centroids, dim, lists, metric)
    elif kind == "ivf-pq":
        codes = max(count for count in range(1, max(1, dim // VALUES_PER_CODE) + 1) if dim % count == 0)
        index = faiss.IndexIVFPQ(centroids, dim, lists, codes, 8, metric)
        index.pq.cp.seed = SEED
    else:
        index = faiss.IndexIVFScalarQuantizer(centroids, dim, lists, faiss.ScalarQuantizer.QT_8bit, metric)
    index.own_fields = True
    centroids.this.disown()  # pyright: ignore[reportAttributeAccessIssue]  # the index frees them
    index.cp.spherical = True  # centroids of unit length, because vectors have unit length
    index.cp.seed = SEED
    return index


def kind_of(index: faiss.Index) -> str:
    """Return the name of an index's type.

    Args:
        index: The index.

    Returns:
        The name; FAISS's class name for other types.
    """
    inner = innermost(index)
    names = {
        faiss.IndexFlatIP: "flat",
        faiss.IndexScalarQuantizer: "float16",
        faiss.IndexHNSWFlat: "hnsw",
        faiss.IndexIVFFlat: "ivf",
        faiss.IndexIVFScalarQuantizer: "ivf-sq8",
        faiss.IndexIVFPQ: "ivf-pq",
    }
    return names.get(type(inner), type(inner).__name__)


def innermost(index: faiss.Index) -> faiss.Index:
    """Return the index below the one that maps ids, if there is one.

    Args:
        index: The index.

    Returns:
        The inner index.
    """
    return faiss.downcast_index(index.index) if isinstance(index, faiss.IndexIDMap2) else index


def stored_ids(index: faiss.Index) -> NDArray[np.int64]:
    """Return the ids in an index, in its own order.

    Args:
        index: The index.

    Returns:
        int64 (n,).
    """
    if isinstance(index, faiss.IndexIDMap2):
        return faiss.vector_to_array(index.id_map)
    assert isinstance(index, faiss.IndexIVF) and index.invlists is not None
    lists = index.invlists
    parts = [faiss.rev_swig_ptr(lists.get_ids(at), lists.list_size(at)) for at in range(index.nlist)]
    return np.concatenate([np.array(part, np.int64) for part in parts]) if parts else np.zeros(0, np.int64)
