"""An exact search for one query that reads a quarter of the bytes: int8 copies first, exact scores of the best second.

Each value x is stored as an int8 code c of its dimension's step s, so x = s c + e. By Cauchy and Schwarz a score
<q, x> differs from the first pass's <q, s c> by at most ||q|| ||e||, and the largest ||e|| is known. So a vector that
the first pass puts further than that below the k-th best exact score cannot be among the k best. If the first pass does
not look far enough to show this for all vectors, the caller has to compare them all.
"""

import itertools
from concurrent.futures import ThreadPoolExecutor

import faiss
import numpy as np
from numpy.typing import NDArray

from ...core.threads import usable_cores

CODES = 127  # codes on each side of 0
FIRST, FURTHER = 256, 16  # candidates per thread: at first, and times as many once more
BLOCK = 8192  # vectors rounded at a time
UNIT_ROUNDOFF = 2.0**-24  # of float32


def exact_scores(
    vectors: NDArray[np.float32], rows: NDArray[np.int64], query: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Compute inner products in float64; equal vectors get equal scores, wherever they are.

    Args:
        vectors: float32 (n, dim).
        rows: The vectors to compare, int64 (m,).
        query: float32 (dim,).

    Returns:
        float64 (m,).
    """
    # not by BLAS, which rounds differently by position
    return np.einsum("ij,j->i", vectors[rows].astype(np.float64), query.astype(np.float64))


class FirstPass:
    """int8 copies of vectors, in one part per core. Many threads may share it.

    Args:
        vectors: float32 (n, dim). Kept, not copied.
        threads: Number of parts; None for the number of usable cores.
    """

    def __init__(self, vectors: NDArray[np.float32], threads: int | None = None) -> None:
        self._vectors = vectors
        count, dim = vectors.shape
        threads = max(1, min(threads or usable_cores(), count))
        self._starts = [count * part // threads // 8 * 8 for part in range(threads)]  # whole bytes of a bitmap
        largest = np.zeros(dim, np.float32)
        for block in self._blocks(0, count):
            np.maximum(largest, np.abs(block).max(axis=0), out=largest)  # a NaN stays
        self.steps = np.where(largest > 0, largest / CODES, 1).astype(np.float32)
        self._parts: list[faiss.IndexScalarQuantizer] = []
        error = 0.0
        for start, end in itertools.pairwise([*self._starts, count]):
            part = faiss.IndexScalarQuantizer(
                dim, faiss.ScalarQuantizer.QT_8bit_direct_signed, faiss.METRIC_INNER_PRODUCT
            )
            for block in self._blocks(start, end):
                with np.errstate(invalid="ignore"):
                    codes = np.rint(block / self.steps)
                    errors = block - codes * self.steps
                    error = max(error, float(np.einsum("ij,ij->i", errors, errors).max()) ** 0.5, key=_nan_last)
                    part.add_sa_codes((codes + (CODES + 1)).astype(np.uint8))
            self._parts.append(part)
        self._error = error
        self._pool = ThreadPoolExecutor(threads, "first-pass", _one_thread)

    def _blocks(self, start: int, end: int):
        for at in range(start, end, BLOCK):
            yield self._vectors[at : min(at + BLOCK, end)]

    def bound(self, query: NDArray[np.float32]) -> float:
        """Return how far a score of the first pass can be from the exact one.

        Args:
            query: float32 (dim,).

        Returns:
            The bound; NaN if a vector is not finite.
        """
        length = float(np.linalg.norm(query.astype(np.float64)))
        # sums of dim products in float32 (Higham 2002, section 3.1), of vectors that are at most 1 + error long
        rounding = 2 * (len(query) + 2) * UNIT_ROUNDOFF
        return length * (self._error + rounding * (1 + self._error))

    def nearest(
        self, query: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]] | None:
        """Search exactly.

        Args:
            query: float32 (dim,).
            k: Number of results, at most the number of vectors to search.
            allowed: Which vectors to search, bool (n,); None for all.

        Returns:
            Inner products, float64 (k,), and rows, int64 (k,): best first, equal ones by row. None if that is not
            proven to be the right result.
        """
        bound = self.bound(query)
        scaled = np.ascontiguousarray(query * self.steps)[None]
        bits = None if allowed is None else np.packbits(allowed, bitorder="little")
        for wanted in (max(FIRST, 2 * k), FURTHER * max(FIRST, 2 * k)):
            rows, below = self._candidates(scaled, wanted, bits)
            scores = exact_scores(self._vectors, rows, query)
            order = np.lexsort((rows, -scores))[:k]
            # what is not a candidate has at most this exact score; written so that NaN proves nothing
            if len(order) == k and below + bound < scores[order[-1]]:
                return scores[order], rows[order]
        return None

    def _candidates(
        self, scaled: NDArray[np.float32], wanted: int, bits: NDArray[np.uint8] | None
    ) -> tuple[NDArray[np.int64], float]:
        """The best of each part by the first pass, and the highest score that any other vector can have in it."""

        def search(number: int) -> tuple[NDArray[np.int64], float]:
            part, start = self._parts[number], self._starts[number]
            parameters = selector = None
            if bits is not None:
                selector = faiss.IDSelectorBitmap(bits[start // 8 :])  # pyright: ignore[reportCallIssue]
                parameters = faiss.SearchParameters()
                parameters.sel = selector  # must live as long as the search
            scores, rows = part.search(scaled, min(wanted, part.ntotal), params=parameters)
            found = rows[0] >= 0
            whole = wanted >= part.ntotal or not found.all()  # no other vector is left
            return rows[0, found] + start, -np.inf if whole else float(scores[0, -1])

        found = list(self._pool.map(search, range(len(self._parts))))
        return np.concatenate([rows for rows, _ in found]), max(cut for _, cut in found)


def _nan_last(value: float) -> float:
    return np.inf if value != value else value


def _one_thread() -> None:
    faiss.omp_set_num_threads(1)  # of the calling thread: the parts are the parallelism
