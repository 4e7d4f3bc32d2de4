"""The file of an exact index: ids and 16-bit vectors, half of the bytes that FAISS writes for the same float32 vectors.

``MAGIC``, number of vectors and values per vector (uint64 each), ids (int64), vectors (int16); little-endian. The
integers are those of the catalog (``storage/vector_bytes.py``).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..storage.vector_bytes import to_floats, to_integers

MAGIC = b"SRFLAT16"
HEAD = 16  # bytes after the magic number
BLOCK = 8192  # vectors converted at a time

Read = Callable[[int], bytes]


def write(ids: NDArray[np.int64], vectors: NDArray[np.float32], put: Callable[[bytes], object]) -> bool:
    """Write an exact index if that loses nothing.

    Args:
        ids: int64 (n,).
        vectors: Unit vectors, float32 (n, dim).
        put: Called with bytes to write, in their order.

    Returns:
        Whether it was written; if not, nothing was: its vectors are not rounded.
    """
    integers = np.empty(vectors.shape, "<i2")
    for start in range(0, len(vectors), BLOCK):
        block = vectors[start : start + BLOCK]
        if not (np.isfinite(block).all() and block.any(axis=1).all()):
            return False
        integers[start : start + BLOCK] = to_integers(block)
        if not np.array_equal(to_floats(integers[start : start + BLOCK]), block):
            return False
    put(MAGIC + np.array(vectors.shape, "<u8").tobytes())
    put(ids.astype("<i8").tobytes())
    for start in range(0, len(vectors), BLOCK):
        put(integers[start : start + BLOCK].tobytes())
    return True


def read(get: Read, length: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Read an exact index after its magic number.

    Args:
        get: Returns the next bytes of the file.
        length: Length of the file, in bytes.

    Returns:
        Ids, int64 (n,), and unit vectors, float32 (n, dim).

    Raises:
        ValueError: The file is too short.
    """
    count, dim = (int(number) for number in np.frombuffer(get(HEAD), "<u8"))
    if len(MAGIC) + HEAD + count * (8 + 2 * dim) > length:
        raise ValueError("an index file that was cut off")
    ids = np.frombuffer(get(8 * count), "<i8").astype(np.int64)
    vectors = np.empty((count, dim), np.float32)
    for start in range(0, count, BLOCK):
        rows = min(BLOCK, count - start)
        vectors[start : start + rows] = to_floats(np.frombuffer(get(2 * dim * rows), "<i2").reshape(rows, dim))
    return ids, vectors
