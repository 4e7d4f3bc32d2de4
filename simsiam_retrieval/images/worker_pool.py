"""Run a function over many files in worker processes that may hang or crash without taking the run along."""

import contextlib
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
from typing import TypeVar

from pebble import ProcessExpired, ProcessFuture, ProcessPool

from ..core.errors import UserError

T = TypeVar("T")
R = TypeVar("R")

SECONDS_PER_FILE = 60.0
MOST_WORKERS = 64  # or four for each CPU, where that is more


def available_cpus() -> int:
    """CPUs that this process may use (a container's or scheduler's limit counts)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers() -> int:
    """How many worker processes there are where nobody says: one for each CPU."""
    return available_cpus()


def check_workers(workers: int | None) -> None:
    """Raise :class:`UserError` for what is no number of worker processes; None stands for one per CPU."""
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

    Runs in spawned worker processes, a few chunks ahead of the reader. When a chunk's worker dies or runs over
    its time, the chunk is tried again item by item, and ``lost(item, reason)`` stands for the items that did it.
    ``workers=0`` runs in this process, without that protection; there are no more workers than chunks.

    Exceptions of ``function`` itself are raised here. Functions and items must come from modules: the workers do
    not run the main script.
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
    """The worker processes of :func:`map_chunks`, kept for several calls; a context manager that ends them."""

    def __init__(self, count: int, *, initializer: Callable[..., None] | None = None, initargs: tuple = ()) -> None:
        self.count = count
        self._pool = ProcessPool(count, initializer=initializer, initargs=initargs, context=_Context())

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *exception: object) -> None:
        self._pool.stop()  # does nothing to finished work; ends the rest at once when the reader gives up
        self._pool.join()

    def map_chunks(
        self,
        function: Callable[[list[T]], list[R]],
        items: Iterable[T],
        *,
        lost: Callable[[T, str], R],
        chunk_size: int = 16,
        seconds_per_item: float = SECONDS_PER_FILE,
    ) -> Iterator[list[R]]:
        """As the function of this name, never in this process; ``items`` are drawn a few chunks ahead of the reader.

        The whole of ``items`` is to be read: a reader that gives up ends the workers.
        """
        ahead: deque[tuple[list[T], ProcessFuture]] = deque()
        for chunk in _chunks(items, chunk_size):
            with _deaf_workers():
                future = self._pool.schedule(function, args=[chunk], timeout=seconds_per_item * len(chunk))
            ahead.append((chunk, future))
            if len(ahead) > 3 * self.count:
                yield _settle(self._pool, function, *ahead.popleft(), lost, seconds_per_item)
        while ahead:
            yield _settle(self._pool, function, *ahead.popleft(), lost, seconds_per_item)


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while chunk := list(itertools.islice(rest, size)):
        yield chunk


class _Process(SpawnProcess):
    """A spawned process that does not begin by running the main script again: it would import what it never needs,
    and a user's script without ``if __name__ == "__main__":`` would start itself for ever.
    """

    @staticmethod
    def _Popen(process_obj):
        nothing = types.ModuleType("__main__")
        before, sys.modules["__main__"] = sys.modules["__main__"], nothing
        try:
            return SpawnProcess._Popen(process_obj)  # pyright: ignore[reportAttributeAccessIssue]
        finally:
            if sys.modules["__main__"] is nothing:  # Streamlit, too, changes it
                sys.modules["__main__"] = before


class _Context(SpawnContext):
    """Not fork: children would inherit locks that other threads (ONNX Runtime, BLAS) hold."""

    Process = _Process


@contextlib.contextmanager
def _deaf_workers() -> Iterator[None]:
    """Processes started meanwhile do not hear Ctrl-C: this process ends them, without their tracebacks."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # it unblocks SIGINT, so it must not be started in between
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
            results += pool.schedule(function, args=[[item]], timeout=seconds).result()
        except FutureTimeout:
            results.append(lost(item, f"decoding took over {seconds:.0f} s"))
        except ProcessExpired:
            results.append(lost(item, "decoding it crashed the decoder"))
    return results
