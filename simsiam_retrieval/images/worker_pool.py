"""Running a function over many files in worker processes. A worker that hangs or crashes does not stop the run."""

import contextlib
import functools
import itertools
import os
import signal
import sys
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.synchronize import RLock
from typing import TypeVar

from pebble import ProcessExpired, ProcessFuture, ProcessPool

from ..core.errors import UserError
from ..core.memory import limit_memory

T = TypeVar("T")
R = TypeVar("R")

SECONDS_PER_FILE = 60.0
SLOW = 4  # files of a chunk that may take their whole time; a chunk with more of them is repeated file by file
MOST_WORKERS = 64  # or four per CPU, if that is more


def available_cpus() -> int:
    """Return the number of CPUs that this process may use, within the limit of a container or scheduler.

    Returns:
        Number of CPUs.
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers() -> int:
    """Return the default number of worker processes: one per CPU.

    Returns:
        Number of processes.
    """
    return available_cpus()


def check_workers(workers: int | None) -> None:
    """Check a number of worker processes.

    Args:
        workers: The number; None stands for one per CPU.

    Raises:
        UserError: It is out of range.
    """
    most = max(MOST_WORKERS, 4 * available_cpus())
    if workers is not None and not 0 <= workers <= most:
        raise UserError(f"--workers {workers}: give 0 (decode in this process) to {most}")


def map_chunks(
    function: Callable[[list[T]], list[R]],
    items: Sequence[T],
    *,
    lost: Callable[[T, str], R],
    workers: int | None = None,
    chunk_size: int = 16,
    initializer: Callable[..., None] | None = None,
    initargs: tuple = (),
    seconds_per_item: float = SECONDS_PER_FILE,
) -> Iterator[list[R]]:
    """Yield ``function(chunk)`` for consecutive chunks of ``items``, in order.

    Runs in spawned worker processes, a few chunks ahead of the reader. If a worker dies or exceeds its time, its chunk
    is repeated item by item. Items that cause it again get the result ``lost(item, reason)``. On Linux a worker cannot
    allocate more memory than was free when it began a chunk (``limit_memory``). Exceptions of ``function`` itself are
    raised here. Functions and items must come from modules: workers do not run the main script.

    Args:
        function: Called with a list of items; returns a list of results of the same length.
        items: The items.
        lost: Makes the result of an item whose worker died or exceeded its time.
        workers: Number of processes, at most one per chunk. 0 runs in this process without that protection.
        chunk_size: Items per chunk.
        initializer: Called once in each worker.
        initargs: Its arguments.
        seconds_per_item: Time limit for one item.

    Yields:
        The results of one chunk.
    """
    workers = default_workers() if workers is None else workers
    check_workers(workers)
    if not items:
        return
    if workers == 0:
        if initializer is not None:
            initializer(*initargs)
        yield from map(function, _chunks(items, chunk_size))
        return
    chunks = -(-len(items) // chunk_size)
    with Workers(min(workers, chunks), initializer=initializer, initargs=initargs) as pool:
        yield from pool.map_chunks(function, items, lost=lost, chunk_size=chunk_size, seconds_per_item=seconds_per_item)


class Workers:
    """The worker processes of ``map_chunks``, kept for several calls. A context manager that ends them.

    Args:
        count: Number of processes.
        initializer: Called once in each worker.
        initargs: Its arguments.
    """

    def __init__(self, count: int, *, initializer: Callable[..., None] | None = None, initargs: tuple = ()) -> None:
        self.count = count
        self._context = _Context()
        self._pool = ProcessPool(count, initializer=initializer, initargs=initargs, context=self._context)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *exception: object) -> None:
        self._pool.stop()  # finished work is not affected; if the reader stops early, the rest ends at once
        self._pool.join()
        self._context.locks.clear()

    def map_chunks(
        self,
        function: Callable[[list[T]], list[R]],
        items: Iterable[T],
        *,
        lost: Callable[[T, str], R],
        chunk_size: int = 16,
        seconds_per_item: float = SECONDS_PER_FILE,
    ) -> Iterator[list[R]]:
        """Like the function ``map_chunks``, but never in this process. A reader that stops early ends the workers.

        Args:
            function: See there.
            items: See there; consumed a few chunks ahead of the reader.
            lost: See there.
            chunk_size: See there.
            seconds_per_item: See there.

        Yields:
            The results of one chunk.
        """
        ahead: deque[tuple[list[T], ProcessFuture]] = deque()
        for chunk in _chunks(items, chunk_size):
            with _workers_ignore_ctrl_c():
                future = self._pool.schedule(
                    _limited, args=[function, chunk], timeout=seconds_per_item * min(len(chunk), SLOW)
                )
            ahead.append((chunk, future))
            if len(ahead) > 3 * self.count:
                yield _settle(self._pool, function, *ahead.popleft(), lost, seconds_per_item)
        while ahead:
            yield _settle(self._pool, function, *ahead.popleft(), lost, seconds_per_item)


def _limited(function: Callable[[list[T]], list[R]], chunk: list[T]) -> list[R]:
    """Run ``function`` in a worker process, which may use the memory that is free now, and no more.

    What C libraries print about damaged files is dropped: the report gives one reason for each.
    """
    limit_memory()
    _silence()
    return function(chunk)


@functools.cache
def _silence() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while chunk := list(itertools.islice(rest, size)):
        yield chunk


class _Process(SpawnProcess):
    """A spawned process that does not run the main script again.

    The script would import what the worker does not need. A script without ``if __name__ == "__main__":`` would start
    itself endlessly.
    """

    @staticmethod
    def _Popen(process_obj):
        nothing = types.ModuleType("__main__")
        before, sys.modules["__main__"] = sys.modules["__main__"], nothing
        try:
            return SpawnProcess._Popen(process_obj)  # pyright: ignore[reportAttributeAccessIssue]
        finally:
            if sys.modules["__main__"] is nothing:  # Streamlit changes it, too
                sys.modules["__main__"] = before


class _Context(SpawnContext):
    """Spawn, not fork: forked children would inherit locks that other threads (ONNX Runtime, BLAS) hold."""

    Process = _Process

    def __init__(self) -> None:
        super().__init__()
        self.locks: list[RLock] = []

    def RLock(self) -> RLock:
        """Keep the lock until all workers have ended.

        Pebble drops its locks before it ends the workers; one that is still starting would not find them by their names
        and print a traceback.
        """
        self.locks.append(super().RLock())
        return self.locks[-1]


@contextlib.contextmanager
def _workers_ignore_ctrl_c() -> Iterator[None]:
    """Make processes that start inside the block ignore Ctrl-C: this process ends them, without tracebacks."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # it unblocks SIGINT, so it must be started before
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _settle(
    pool: ProcessPool,
    function: Callable[[list[T]], list[R]],
    chunk: list[T],
    future: ProcessFuture,
    lost: Callable[[T, str], R],
    seconds: float,
) -> list[R]:
    try:
        return future.result()
    except BrokenProcessPool:
        raise RuntimeError("the worker processes do not start; try --workers 0 (in Python: workers=0)") from None
    except (FutureTimeout, ProcessExpired):
        pass
    results = []
    for item in chunk:
        try:
            results += pool.schedule(_limited, args=[function, [item]], timeout=seconds).result()
        except FutureTimeout:
            results.append(lost(item, f"decoding took over {seconds:.0f} s"))
        except ProcessExpired:
            results.append(lost(item, "decoding it crashed the decoder"))
    return results
