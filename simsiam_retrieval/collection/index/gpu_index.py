"""A vector index on a CUDA device. FAISS's GPU indexes do not allow concurrent searches, so a lock protects it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...core.errors import UserError
from . import int8_lists
from .index_types import innermost
from .vector_index import VectorIndex

if TYPE_CHECKING:
    import faiss
else:
    from . import faiss_when_used as faiss

LARGEST_K = 2048  # FAISS's limit on a GPU
WORTHWHILE = 100_000  # vectors from which a GPU is worthwhile; for fewer the transfer takes longer than the search

DEVICES = ("cpu", "cuda", "auto")


def check_device(device: str) -> None:
    """Check the device of a search.

    Args:
        device: "cpu", "cuda" or "auto".

    Raises:
        UserError: It is unknown, or FAISS sees no GPU for "cuda".
    """
    if device not in DEVICES:
        raise UserError(f"--device {device}: choose one of {', '.join(DEVICES)}")
    if device == "cuda" and not gpus():
        raise UserError("--device cuda: FAISS sees no GPU here; choose cpu, or install faiss-gpu and its driver")


def gpus() -> int:
    """Return the number of GPUs that FAISS can use.

    Returns:
        Number of GPUs.
    """
    return faiss.get_num_gpus() if hasattr(faiss, "StandardGpuResources") else 0


def placed(index: VectorIndex, device: str, *, float16: bool = False) -> VectorIndex:
    """Put an index on a device.

    Args:
        index: The index.
        device: "cpu", "cuda", or "auto" for a GPU if there are many vectors, a GPU, and a type that GPUs support.
        float16: Whether to store vectors in float16 on the GPU; scores then differ by up to 1e-3.

    Returns:
        The index on the device.

    Raises:
        UserError: "cuda" is not possible for this type.
    """
    if device == "cpu" or (device == "auto" and (not gpus() or len(index) < WORTHWHILE or index.kind == "hnsw")):
        return index
    if index.kind == "hnsw":
        raise UserError("--device cuda: FAISS has no hnsw for GPUs; rebuild with --index flat or ivf")
    return GpuVectorIndex(index, float16=float16)


class GpuVectorIndex(VectorIndex):
    """A copy of a CPU index on the first GPU; same results up to rounding.

    Args:
        index: The CPU index.
        float16: See ``placed``.
    """

    def __init__(self, index: VectorIndex, *, float16: bool = False) -> None:
        on_cpu = index.faiss_index
        super().__init__(index._index, index.generation)
        self._resources = faiss.StandardGpuResources()
        options = faiss.GpuClonerOptions()
        options.useFloat16 = float16
        inner = int8_lists.as_floats(on_cpu) if int8_lists.are_int8(on_cpu) else innermost(on_cpu)
        self._on_gpu = faiss.index_cpu_to_gpu(self._resources, 0, inner, options)
        self._names = index.ids if isinstance(on_cpu, faiss.IndexIDMap2) else None
        self._one_at_a_time = threading.Lock()

    def search(
        self, queries: NDArray[np.float32], k: int, among: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """See ``VectorIndex.search``. With a filter, or for very many results, the CPU searches."""
        if among is not None or not 0 < k <= min(LARGEST_K, len(self)):
            return super().search(queries, k, among)
        with self._one_at_a_time:
            scores, rows = self._on_gpu.search(np.ascontiguousarray(queries, np.float32), k)
        ids = rows if self._names is None else np.where(rows < 0, -1, self._names[rows])
        return np.clip(scores, -1, 1), ids
