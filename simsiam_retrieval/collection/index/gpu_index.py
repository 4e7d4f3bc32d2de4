"""A vector index on a CUDA device. FAISS's GPU indexes are not safe for searches at once, so one lock guards it."""

import threading

import faiss
import numpy as np
from numpy.typing import NDArray

from ...core.errors import UserError
from .index_types import innermost
from .vector_index import VectorIndex

LARGEST_K = 2048  # of FAISS on a GPU
WORTHWHILE = 100_000  # vectors; for fewer the way to the GPU and back takes longer than the search

DEVICES = ("cpu", "cuda", "auto")


def check_device(device: str) -> None:
    """Raise :class:`UserError` for a device that is none, or ``cuda`` where FAISS sees no GPU."""
    if device not in DEVICES:
        raise UserError(f"--device {device}: choose one of {', '.join(DEVICES)}")
    if device == "cuda" and not gpus():
        raise UserError("--device cuda: FAISS sees no GPU here; choose cpu, or install faiss-gpu and its driver")


def gpus() -> int:
    """How many GPUs FAISS can use."""
    return faiss.get_num_gpus() if hasattr(faiss, "StandardGpuResources") else 0


def placed(index: VectorIndex, device: str, *, float16: bool = False) -> VectorIndex:
    """``index`` on ``device``; ``auto`` takes a GPU for many vectors, where there is one and the type can go there.

    ``float16``: store vectors in half the space there; scores then differ by up to 1e-3.
    """
    if device == "cpu" or (device == "auto" and (not gpus() or len(index) < WORTHWHILE or index.kind == "hnsw")):
        return index
    if index.kind == "hnsw":
        raise UserError("--device cuda: FAISS has no hnsw for GPUs; rebuild with --index flat or ivf")
    return GpuVectorIndex(index, float16=float16)


class GpuVectorIndex(VectorIndex):
    """A copy of a CPU index on the first GPU; same results up to rounding."""

    def __init__(self, index: VectorIndex, *, float16: bool = False) -> None:
        super().__init__(index.faiss_index, index.generation)
        self._resources = faiss.StandardGpuResources()
        options = faiss.GpuClonerOptions()
        options.useFloat16 = float16
        inner = innermost(index.faiss_index)
        self._on_gpu = faiss.index_cpu_to_gpu(self._resources, 0, inner, options)
        self._names = index.ids if isinstance(index.faiss_index, faiss.IndexIDMap2) else None
        self._one_at_a_time = threading.Lock()

    def search(
        self, queries: NDArray[np.float32], k: int, among: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """As :meth:`VectorIndex.search`; with a filter, or for very many results, on the CPU."""
        if among is not None or not 0 < k <= min(LARGEST_K, len(self)):
            return super().search(queries, k, among)
        with self._one_at_a_time:
            scores, rows = self._on_gpu.search(np.ascontiguousarray(queries, np.float32), k)
        ids = rows if self._names is None else np.where(rows < 0, -1, self._names[rows])
        return np.clip(scores, -1, 1), ids
