"""How many threads FAISS uses."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import faiss
else:
    from . import faiss_when_used as faiss

FEW = 8  # queries that are searched by one thread


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let FAISS calls of this thread use one thread inside the block.

    One query is not divided among threads, but FAISS wakes the others all the same. After a pause of 2 ms that took
    14 ms where the search itself takes 0.5 (two cores of a virtual machine).

    Yields:
        Nothing.
    """
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # of the calling thread only
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
