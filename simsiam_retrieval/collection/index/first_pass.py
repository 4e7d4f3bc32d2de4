"""An exact search for one query that reads a quarter of the bytes: int8 copies first, exact scores of the best second.

Each value x is stored as an int8 code c of its dimension's step s, so x = s c + e, and the query q is rounded in the
same way, q = q' + d. By Cauchy and Schwarz a score <q, x> differs from the first pass's <q', s c> by at most
||q|| ||e|| + ||d|| ||s c||, and the largest ||e|| and ||x|| are known. So a vector that the first pass puts further
than that below the k-th best exact score cannot be among the k best. If the first pass does not look far enough to show
this for all vectors, the caller has to compare them all.
"""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...core.threads import usable_cores

if TYPE_CHECKING:
    import faiss
else:
    from . import faiss_when_used as faiss

CODES = 127  # codes on each side of 0
FIRST, PER_RESULT, FURTHER = 256, 8, 16  # candidates per thread: at first, at least per result, and once more
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
        error = longest = 0.0
        for start, end in itertools.pairwise([*self._starts, count]):
            part = faiss.IndexScalarQuantizer(
                dim, faiss.ScalarQuantizer.QT_8bit_direct_signed, faiss.METRIC_INNER_PRODUCT
            )
            for block in self._blocks(start, end):
                with np.errstate(invalid="ignore"):
                    codes = np.rint(block / self.steps)
                    errors = block - codes * self.steps
                    error = max(error, float(np.einsum("ij,ij->i", errors, errors).max()) ** 0.5, key=_nan_last)
                    longest = max(longest, float(np.einsum("ij,ij->i", block, block).max()) ** 0.5, key=_nan_last)
                    part.add_sa_codes((codes + (CODES + 1)).astype(np.uint8))
            self._parts.append(part)
        self._error, self._longest = error, longest
        self._pool = ThreadPoolExecutor(threads, "first-pass", _one_thread)

    def _blocks(self, start: int, end: int):
        for at in range(start, end, BLOCK):
            yield self._vectors[at : min(at + BLOCK, end)]

    def rounded(self, query: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, float]:
        """Round a query for the first pass: FAISS truncates a query to whole numbers where dim is a multiple of 32.

        Args:
            query: float32 (dim,).

        Returns:
            Whole numbers, float32 (dim,); by what their scores are to be multiplied; and how far such a score can be
            from the exact one, NaN if the query or a vector is not finite.
        """
        exact = query.astype(np.float64)
        scaled = exact * self.steps
        unit = float(np.abs(scaled).max()) / CODES
        with np.errstate(invalid="ignore", divide="ignore"):
            whole = np.rint(scaled / unit)
            lost = float(np.linalg.norm(exact - unit * whole / self.steps))
        length, copy = float(np.linalg.norm(exact)), self._longest + self._error
        # of sums of dim products in float32 (Higham 2002, section 3.1), also for the lengths above
        rounding = 2 * (len(query) + 2) * UNIT_ROUNDOFF
        bound = length * self._error + lost * copy + rounding * (length + lost) * (copy + self._error)
        return whole.astype(np.float32), unit, bound

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
        whole, unit, bound = self.rounded(query)
        bits = None if allowed is None else np.packbits(allowed, bitorder="little")
        first = max(FIRST, PER_RESULT * k)
        for wanted in (first, FURTHER * first):
            rows, below = self._candidates(whole[None], wanted, bits)
            scores = exact_scores(self._vectors, rows, query)
            order = np.lexsort((rows, -scores))[:k]
            # what is not a candidate has at most this exact score; written so that NaN proves nothing
            if len(order) == k and unit * below + bound < scores[order[-1]]:
                return scores[order], rows[order]
        return None

    def _candidates(
        self, whole: NDArray[np.float32], wanted: int, bits: NDArray[np.uint8] | None
    ) -> tuple[NDArray[np.int64], float]:
        """The best of each part by the first pass, and the highest score that any other vector can have in it."""

        def search(number: int) -> tuple[NDArray[np.int64], float]:
            part, start = self._parts[number], self._starts[number]
            parameters = selector = None
            if bits is not None:
                selector = faiss.IDSelectorBitmap(bits[start // 8 :])  # pyright: ignore[reportCallIssue]
                parameters = faiss.SearchParameters()
                parameters.sel = selector  # must live as long as the search
            scores, rows = part.search(whole, min(wanted, part.ntotal), params=parameters)
            found = rows[0] >= 0
            all_of_it = wanted >= part.ntotal or not found.all()  # no other vector is left
            return rows[0, found] + start, -np.inf if all_of_it else float(scores[0, -1])

        found = list(self._pool.map(search, range(len(self._parts))))
        return np.concatenate([rows for rows, _ in found]), max(cut for _, cut in found)


def _nan_last(value: float) -> float:
    return np.inf if value != value else value


def _one_thread() -> None:
    faiss.omp_set_num_threads(1)  # of the calling thread: the parts are the parallelism
