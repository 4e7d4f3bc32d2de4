"""FAISS index types by name: which one `auto` takes, and how each is built. The rules stand in docs/search.md."""

from collections.abc import Sequence

import faiss
import numpy as np
from numpy.typing import NDArray

from ...core.errors import UserError

KINDS = ("auto", "flat", "float16", "ivf", "ivf-sq8", "hnsw")
SHARDED_KINDS = ("auto", "ivf", "ivf-sq8", "ivf-pq")  # of a collection in shards; of the others none can stay on disk

FLAT_UP_TO = 200_000  # vectors; a query over 512 values each takes some 20 ms on two cores
APPROXIMATE_FROM = 2_000  # vectors; fewer are searched exactly in no time
HNSW_LINKS = 32  # M of Malkov & Yashunin 2016
HNSW_EF_CONSTRUCTION = 80
LISTS_PER_ROOT = 4  # inverted lists per square root of the number of vectors
FEWEST_PER_LIST = 39  # vectors; FAISS warns of clusters learned from fewer
TRAINED_ON = 64  # vectors per list that k-means sees
VALUES_PER_CODE = 8  # that product quantization puts into one byte
SEED = 1


def check_kind(kind: str, kinds: Sequence[str] = KINDS) -> None:
    """Raise :class:`UserError` for a name that is none of the index types ``kinds``."""
    if kind not in kinds:
        raise UserError(f"--index {kind}: choose one of {', '.join(kinds)}")


def choose(kind: str, count: int, dim: int, free_memory: int) -> str:
    """The type that ``kind`` means for ``count`` vectors of ``dim`` values: itself, unless it is ``auto``.

    ``auto`` is exact up to ``FLAT_UP_TO`` vectors; beyond, inverted lists, of 8-bit values where float32 ones would
    take more than half of ``free_memory`` (bytes). A handful of vectors is always flat.
    """
    if kind == "auto":
        if count <= FLAT_UP_TO:
            return "flat"
        return "ivf" if 4 * count * dim <= free_memory // 2 else "ivf-sq8"
    return kind if count >= APPROXIMATE_FROM else "flat"


def build(kind: str, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> faiss.Index:
    """A FAISS index of this type (not ``auto``) over unit ``vectors`` (n, dim) under ``ids`` (n,); inner product.

    Deterministic: k-means and graph levels have fixed seeds, but a graph built by several threads varies a little.
    """
    count, dim = vectors.shape
    metric = faiss.METRIC_INNER_PRODUCT
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
    """How many lists so many vectors can be parted into at most."""
    return count // FEWEST_PER_LIST


def inverted_lists(kind: str, dim: int, lists: int) -> faiss.IndexIVF:
    """An empty index of unit vectors (dim,) that is not trained: ivf, ivf-sq8 or ivf-pq; inner product."""
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
    index.cp.spherical = True  # unit vectors: centroids of unit length
    index.cp.seed = SEED
    return index


def kind_of(index: faiss.Index) -> str:
    """The name of an index's type, or FAISS's own for one that is none of ours."""
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
    """The index below the one that maps ids, if there is one."""
    return faiss.downcast_index(index.index) if isinstance(index, faiss.IndexIDMap2) else index


def stored_ids(index: faiss.Index) -> NDArray[np.int64]:
    """The ids it holds (n,), in its own order."""
    if isinstance(index, faiss.IndexIDMap2):
        return faiss.vector_to_array(index.id_map)
    assert isinstance(index, faiss.IndexIVF) and index.invlists is not None
    lists = index.invlists
    parts = [faiss.rev_swig_ptr(lists.get_ids(at), lists.list_size(at)) for at in range(index.nlist)]
    return np.concatenate([np.array(part, np.int64) for part in parts]) if parts else np.zeros(0, np.int64)


def removes(kind: str) -> bool:
    """Whether vectors can be taken out of an index of this type."""
    return kind != "hnsw"  # the graph would lose its ways
