"""The contenders of ``search_race.py``. Each gets unit vectors and returns a search of the ten nearest.

A contender that stores rounded vectors compares candidates again with 16-bit vectors in a mapped file, as a collection
has them. ``settings`` go from fast to thorough; ``use`` takes one of them. All work with one thread.
"""

import functools
import importlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from simsiam_retrieval.collection.index import index_types
from simsiam_retrieval.collection.index.vector_index import VectorIndex

K = 10
STEPS = tuple(range(16, 64, 8)) + tuple(int(64 * 1.25**step) for step in range(13))  # breadths of graph searches
Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass
class Racer:
    """A built contender."""

    search: Callable[[Vectors], Rows]  # queries (n, dim) -> rows (n, 10)
    settings: Sequence[Any] = (None,)
    use: Callable[[Any], None] = lambda value: None
    kept: object = None  # what must stay in memory for a search, beyond what ``search`` holds


class Mapped:
    """16-bit vectors in a mapped file, for exact scores of candidates."""

    def __init__(self, file: Path) -> None:
        self._values = np.load(file, mmap_mode="r")

    def best(self, queries: Vectors, candidates: Rows) -> Rows:
        found = np.empty((len(queries), K), np.int64)
        for row, (query, some) in enumerate(zip(queries, candidates, strict=True)):
            some = some[some >= 0]
            values = self._values[some].astype(np.float32)
            scores = values @ query / np.sqrt(np.einsum("ij,ij->i", values, values))
            best = np.argpartition(-scores, K - 1)[:K] if len(scores) > K else np.arange(len(scores))
            found[row] = -1
            found[row, : len(best)] = some[best]
        return found


def clustered(index: faiss.IndexIVF, vectors: Vectors, per_list: int, rounds: int, fast: bool) -> None:
    """Train the lists, on ``per_list`` vectors a list."""
    sample = np.random.default_rng(1).permutation(len(vectors))[: per_list * index.nlist]
    index.cp.niter, index.cp.max_points_per_centroid, index.cp.min_points_per_centroid = rounds, 1000, 1
    index.cp.use_super_kmeans = fast
    index.train(vectors[np.sort(sample)])


def today(kind: str, vectors: Vectors, mapped: Mapped, lists: int = 0, rest: str = "") -> Racer:
    """A type that a collection can have today; "auto" is what it chooses for so many."""
    count = len(vectors)
    ids = np.arange(count, dtype=np.int64)
    if kind == "flat":
        exact = VectorIndex.build(ids, vectors, 1)
        return Racer(lambda queries: exact.search(queries, K)[1])
    index = index_types.build({"auto": "ivf"}.get(kind, kind), ids, vectors)
    inner: Any = index_types.innermost(index)
    if kind == "hnsw":
        return Racer(lambda queries: index.search(queries, K)[1], STEPS, lambda ef: setattr(inner.hnsw, "efSearch", ef))
    probes = [2**power for power in range(9)]
    if kind == "auto":
        return Racer(lambda queries: index.search(queries, K)[1], probes, lambda n: setattr(inner, "nprobe", n))
    search = lambda queries: mapped.best(queries, index.search(queries, 4 * K)[1])  # noqa: E731
    return Racer(search, probes, lambda n: setattr(inner, "nprobe", n))


def lists_of(codes: str, vectors: Vectors, mapped: Mapped, lists: int, rest: str) -> Racer:
    """Inverted lists; ``rest`` is vectors a list for training, rounds of k-means, and "s" for SuperKMeans."""
    dim, metric = vectors.shape[1], faiss.METRIC_INNER_PRODUCT
    per_list, rounds, *fast = rest.split(",")
    centroids: Any = faiss.IndexFlatIP(dim)
    if codes == "rabitq":
        index = faiss.IndexIVFRaBitQFastScan(centroids, dim, lists, metric)
    elif codes == "panorama":
        index = faiss.IndexIVFFlatPanorama(centroids, dim, lists, 8, metric)
    else:
        index = faiss.IndexIVFScalarQuantizer(centroids, dim, lists, faiss.ScalarQuantizer.QT_8bit, metric)
    index.own_fields = True
    centroids.this.disown()
    index.cp.spherical, index.cp.seed = True, 1
    clustered(index, vectors, int(per_list), int(rounds), bool(fast))
    index.add(vectors)
    chosen = {"candidates": 4 * K}

    def use(setting: tuple[int, int]) -> None:
        index.nprobe, chosen["candidates"] = setting

    def search(queries: Vectors) -> Rows:
        found = index.search(queries, chosen["candidates"])[1]
        return found if codes == "panorama" else mapped.best(queries, found)

    many = (100, 200, 300) if codes == "rabitq" else (K,) if codes == "panorama" else (2 * K,)
    probes = [4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192]
    return Racer(search, [(probe, some) for probe in probes for some in many], use)


def int8_lists(vectors: Vectors, mapped: Mapped, lists: int, rest: str) -> Racer:
    """Inverted lists of int8 values, compared as whole numbers: vectors by one step for all, each query by its own."""
    dim, metric = vectors.shape[1], faiss.METRIC_INNER_PRODUCT
    per_list, rounds, *fast = rest.split(",")
    centroids: Any = faiss.IndexFlatIP(dim)
    kind = faiss.ScalarQuantizer.QT_8bit_direct_signed
    index = faiss.IndexIVFScalarQuantizer(centroids, dim, lists, kind, metric, False)
    index.own_fields = True
    centroids.this.disown()
    index.cp.spherical, index.cp.seed = True, 1
    clustered(index, vectors, int(per_list), int(rounds), bool(fast))
    step = 127 / np.abs(vectors).max()
    for at in range(0, len(vectors), 8192):
        index.add(np.rint(vectors[at : at + 8192] * step))

    def search(queries: Vectors) -> Rows:
        whole = np.rint(queries * (127 / np.abs(queries).max(1, keepdims=True)))
        return mapped.best(queries, index.search(whole, 2 * K)[1])

    probes = [4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256]
    return Racer(search, probes, lambda n: setattr(index, "nprobe", n))


def rabitq_alone(vectors: Vectors, mapped: Mapped, lists: int = 0, rest: str = "") -> Racer:
    """RaBitQ without lists."""
    index = faiss.IndexRaBitQFastScan(vectors.shape[1], faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    chosen = [100]
    search = lambda queries: mapped.best(queries, index.search(queries, chosen[0])[1])  # noqa: E731
    return Racer(search, (100, 200, 300, 500, 800), lambda some: chosen.__setitem__(0, some))


def hnswlib(vectors: Vectors, mapped: Mapped, lists: int, rest: str) -> Racer:
    import hnswlib as library

    graph = library.Index(space="ip", dim=vectors.shape[1])
    graph.init_index(max_elements=len(vectors), M=lists or 16, ef_construction=80)
    graph.set_num_threads(1)
    graph.add_items(vectors, num_threads=1)
    return Racer(lambda queries: graph.knn_query(queries, K, num_threads=1)[0].astype(np.int64), STEPS, graph.set_ef)


def usearch(vectors: Vectors, mapped: Mapped, lists: int, rest: str) -> Racer:
    from usearch.index import Index  # pyright: ignore[reportMissingImports]

    index = Index(ndim=vectors.shape[1], metric="ip", dtype=rest or "bf16", connectivity=lists or 16, expansion_add=80)
    index.add(np.arange(len(vectors)), vectors, threads=1)

    def search(queries: Vectors) -> Rows:
        return np.atleast_2d(index.search(queries, K, threads=1).keys.astype(np.int64))

    return Racer(search, STEPS, lambda value: setattr(index, "expansion_search", value))


def ngt(vectors: Vectors, mapped: Mapped, lists: int, rest: str) -> Racer:
    import ngtpy  # pyright: ignore[reportMissingImports]

    folder = tempfile.TemporaryDirectory()
    path = f"{folder.name}/index"
    ngtpy.create(path, vectors.shape[1], distance_type="Normalized Cosine", edge_size_for_search=40)
    index = ngtpy.Index(path, log_disabled=True)
    index.batch_insert(vectors, num_threads=1)
    epsilon = [0.0]

    def search(queries: Vectors) -> Rows:
        found = np.full((len(queries), K), -1, np.int64)
        for row, query in enumerate(queries):
            rows = index.search(query, K, epsilon=epsilon[0], with_distance=False)
            found[row, : len(rows)] = rows
        return found

    steps = [round(-0.1 + 0.01 * step, 2) for step in range(30)]
    return Racer(search, steps, lambda value: epsilon.__setitem__(0, value), folder)


def svs(vectors: Vectors, mapped: Mapped, lists: int, rest: str) -> Racer:
    """Vamana; its wheel compresses vectors (LVQ) only where Intel's closed part is loaded, so float16."""
    library: Any = importlib.import_module("svs")

    asked = library.VamanaBuildParameters(alpha=0.95, graph_max_degree=lists or 32, window_size=80)
    index = library.Vamana.build(asked, vectors.astype(np.float16), library.DistanceType.MIP, num_threads=1)
    index.num_threads = 1
    search = lambda queries: index.search(queries, K)[0].astype(np.int64)  # noqa: E731
    return Racer(search, STEPS, lambda value: setattr(index, "search_window_size", value))


def lorann(vectors: Vectors, mapped: Mapped, lists: int, rest: str) -> Racer:
    import lorann as library  # pyright: ignore[reportMissingImports]

    reduced = 128 if vectors.shape[1] > 200 else None
    index = library.LorannIndex(
        vectors, lists or int(len(vectors) ** 0.5), reduced, rank=32, train_size=3, distance=library.IP
    )
    index.build(n_threads=1)
    chosen = [(8, 100)]
    search = lambda queries: np.atleast_2d(index.search(queries, K, *chosen[0], n_threads=1)).astype(np.int64)  # noqa: E731
    settings = [(some, many) for some in (4, 8, 16, 24, 32, 48, 64, 96, 128) for many in (100, 200, 400)]
    return Racer(search, settings, lambda value: chosen.__setitem__(0, value), vectors)


def pynndescent(vectors: Vectors, mapped: Mapped, lists: int, rest: str) -> Racer:
    import pynndescent as library  # pyright: ignore[reportMissingImports]

    index = library.NNDescent(vectors, metric="dot", n_neighbors=lists or 30, n_jobs=1, random_state=1, low_memory=True)
    index.prepare()
    epsilon = [0.0]
    search = lambda queries: index.query(queries, k=K, epsilon=epsilon[0])[0].astype(np.int64)  # noqa: E731
    return Racer(search, [0.02 * step for step in range(26)], lambda value: epsilon.__setitem__(0, value))


def symqg(vectors: Vectors, mapped: Mapped, lists: int, rest: str) -> Racer:
    """SymphonyQG of rabitqlib."""
    import rabitqlib  # pyright: ignore[reportMissingImports]

    index = rabitqlib.SymqgIndex(vectors.shape[1], lists or 32, metric="ip", quantization_bits=int(rest or 0))
    index.build(vectors, 200, num_threads=1)
    breadth = [16]

    def search(queries: Vectors) -> Rows:
        found = np.asarray(index.search_batch(queries, K, breadth[0], num_threads=1)[0])
        return found.astype(np.int64).reshape(len(queries), -1)

    return Racer(search, STEPS, lambda value: breadth.__setitem__(0, value), vectors)


RACERS: dict[str, Callable[..., Racer]] = {
    **{kind: functools.partial(today, kind) for kind in ("auto", "flat", "ivf-sq8", "hnsw")},
    **{codes: functools.partial(lists_of, codes) for codes in ("rabitq", "sq8", "panorama")},
    "int8": int8_lists,
    "rabitq-alone": rabitq_alone,
    "hnswlib": hnswlib,
    "usearch": usearch,
    "ngt": ngt,
    "svs": svs,
    "lorann": lorann,
    "pynndescent": pynndescent,
    "symqg": symqg,
}
