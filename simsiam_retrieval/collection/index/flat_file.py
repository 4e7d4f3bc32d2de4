"""The file of an exact index: ids and 16-bit vectors, half of the bytes that FAISS writes for the same float32 vectors.

``MAGIC``, number of vectors and values per vector (uint64 each), ids (int64), vectors (int16); little-endian. The
integers are those of the catalog (``storage/vector_bytes.py``).
"""

from collections.abc import Callable

import faiss
import numpy as np
from numpy.typing import NDArray

from ..storage.vector_bytes import to_floats, to_integers

MAGIC = b"SRFLAT16"
HEAD = 16  # bytes after the magic number
BLOCK = 8192  # vectors converted at a time

Read = Callable[[int], bytes]


def write(index: faiss.Index, put: Callable[[bytes], object]) -> bool:
    """Write an exact index if that loses nothing.

    Args:
        index: Any index of a collection.
        put: Called with bytes to write, in their order.

    Returns:
        Whether it was written; if not, nothing was: it is of another type, or its vectors are not rounded.
    """
    if not isinstance(index, faiss.IndexIDMap2) or not isinstance(flat := faiss.downcast_index(index.index), _FLAT):
        return False
    vectors = values_of(flat)
    integers = np.empty(vectors.shape, "<i2")
    for start in range(0, len(vectors), BLOCK):
        block = vectors[start : start + BLOCK]
        if not (np.isfinite(block).all() and block.any(axis=1).all()):
            return False
        integers[start : start + BLOCK] = to_integers(block)
        if not np.array_equal(to_floats(integers[start : start + BLOCK]), block):
            return False
    put(MAGIC + np.array(vectors.shape, "<u8").tobytes())
    put(faiss.vector_to_array(index.id_map).astype("<i8").tobytes())
    for start in range(0, len(vectors), BLOCK):
        put(integers[start : start + BLOCK].tobytes())
    return True


def read(get: Read, length: int) -> faiss.Index:
    """Read an exact index after its magic number.

    Args:
        get: Returns the next bytes of the file.
        length: Length of the file, in bytes.

    Returns:
        The index.

    Raises:
        ValueError: The file is too short.
    """
    count, dim = (int(number) for number in np.frombuffer(get(HEAD), "<u8"))
    if len(MAGIC) + HEAD + count * (8 + 2 * dim) > length:
        raise ValueError("an index file that was cut off")
    flat = faiss.IndexFlatIP(dim)
    index = faiss.IndexIDMap2(flat)
    faiss.copy_array_to_vector(np.frombuffer(get(8 * count), "<i8").astype(np.int64), index.id_map)
    flat.codes.resize(4 * count * dim)
    flat.ntotal = index.ntotal = count
    vectors = values_of(flat)
    for start in range(0, count, BLOCK):
        rows = min(BLOCK, count - start)
        vectors[start : start + rows] = to_floats(np.frombuffer(get(2 * dim * rows), "<i2").reshape(rows, dim))
    index.construct_rev_map()
    return index


def values_of(flat: faiss.IndexFlat) -> NDArray[np.float32]:
    """Return the vectors of a flat index, float32 (n, dim), without a copy.

    Args:
        flat: The index. It must outlive the result.

    Returns:
        The vectors; writing changes the index.
    """
    if flat.ntotal == 0:
        return np.empty((0, flat.d), np.float32)
    here = flat.get_xb()  # pyright: ignore[reportAttributeAccessIssue]
    return faiss.rev_swig_ptr(here, flat.ntotal * flat.d).reshape(flat.ntotal, flat.d)


_FLAT = faiss.IndexFlatIP
