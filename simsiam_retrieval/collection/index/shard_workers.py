"""Worker processes on this machine for the parts of a build."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

from ...core.errors import UserError
from ...images.worker_pool import check_workers


@contextmanager
def pooled(workers: int | None) -> Iterator[Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]]:
    """Create a ``map`` over worker processes.

    Args:
        workers: Number of processes; None, 0 or 1 uses this process, whose FAISS uses all cores anyway.

    Yields:
        The function.

    Raises:
        UserError: A worker was killed.
    """
    check_workers(workers)
    if workers is None or workers < 2:
        yield map
        return
    # spawned, because FAISS's threads do not survive a fork
    with ProcessPoolExecutor(workers, get_context("spawn"), _one_thread) as pool:
        try:
            yield pool.map
        except BrokenProcessPool:
            raise UserError("a worker process was killed; is there too little memory? Run again, --workers 1") from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _one_thread() -> None:
    from . import faiss_when_used as faiss

    faiss.omp_set_num_threads(1)
