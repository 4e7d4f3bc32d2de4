"""How a unit vector is stored in a catalog: 16-bit integers and a CRC-32, or float32 as in older versions.

Only the direction of the integers counts: a vector is its integers, divided by their length. The largest of them is
32,767, so the rounding error is about a tenth of float16's, and a stored vector has unit length by construction. The
number of bytes tells the two forms apart. Reading gives the same float32 bits whether one vector is read or many.
"""

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LARGEST = 32_767
CHECK = 4  # bytes of the CRC-32
BLOCK = 4096  # vectors converted at a time
UNIT = 1e-3  # a vector whose length differs from 1 by more is stored as it is


def to_bytes(vector: NDArray[np.float32]) -> bytes:
    """Return what is stored of a vector.

    Args:
        vector: float32 (dim,).

    Returns:
        2 * dim + 4 bytes. What is no unit vector, or has fewer than 3 values, is stored as float32: 4 * dim bytes.
    """
    values = np.asarray(vector, np.float64)
    if not len(values) > 2 or not abs(np.linalg.norm(values) - 1) <= UNIT:  # so that NaN counts
        return np.ascontiguousarray(vector, "<f4").tobytes()
    content = to_integers(np.asarray(vector, np.float32)[None])[0].astype("<i2").tobytes()
    return content + zlib.crc32(content).to_bytes(CHECK, "little")


def from_bytes(stored: bytes, dim: int) -> NDArray[np.float32] | None:
    """Read one vector.

    Args:
        stored: What ``to_bytes`` returned.
        dim: Values per vector.

    Returns:
        float32 (dim,); None if the length or the CRC-32 is wrong.
    """
    rows = np.empty((1, dim), np.float32)
    return rows[0] if read_into(rows, [stored]) is None else None


def read_into(rows: NDArray[np.float32], stored: Sequence[bytes]) -> int | None:
    """Read many vectors.

    Args:
        rows: Where to put them, float32 (n, dim).
        stored: n times what ``to_bytes`` returned.

    Returns:
        The number of the first one whose length or CRC-32 is wrong; None if there is none.
    """
    dim = rows.shape[1]
    small, large = 2 * dim + CHECK, 4 * dim
    for start in range(0, len(stored), BLOCK):
        block = stored[start : start + BLOCK]
        integers: list[bytes] = []
        places: list[int] = []
        for number, content in enumerate(block):
            if not isinstance(content, bytes) or len(content) not in (small, large):
                return start + number
            if len(content) == large:
                rows[start + number] = np.frombuffer(content, "<f4")
            elif zlib.crc32(content[:-CHECK]) != int.from_bytes(content[-CHECK:], "little"):
                return start + number
            else:
                integers.append(content)
                places.append(start + number)
        if integers:
            packed = np.frombuffer(b"".join(integers), np.uint8).reshape(-1, small)[:, : 2 * dim]
            rows[places] = to_floats(np.ascontiguousarray(packed).view("<i2"))
    return None


def to_integers(vectors: NDArray[np.float32]) -> NDArray[np.int16]:
    """Round vectors to 16 bits; what was rounded before stays the same.

    Args:
        vectors: Finite and none of them zero, float32 (n, dim).

    Returns:
        int16 (n, dim).
    """
    largest = np.abs(vectors).max(axis=1, keepdims=True).astype(np.float64)
    return np.rint(vectors * (LARGEST / largest)).astype(np.int16)


def to_floats(integers: NDArray[np.int16]) -> NDArray[np.float32]:
    """Return the unit vectors that integers stand for.

    Args:
        integers: int16 (n, dim).

    Returns:
        float32 (n, dim); zeros where all integers of a row are zero.
    """
    exact = integers.astype(np.float64)
    squares = np.einsum("ij,ij->i", exact, exact)  # whole numbers below 2**53: exact in any order
    scale = np.divide(1, np.sqrt(squares), out=np.zeros(len(squares)), where=squares > 0).astype(np.float32)
    return integers.astype(np.float32) * scale[:, None]
