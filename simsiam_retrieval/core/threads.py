"""Bounding the threads of linear algebra (OpenMP, OpenBLAS, MKL) where cores are shared with other programs."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


def usable_cores() -> int:
    """Return the number of CPUs that this process may use.

    Returns:
        Number of CPUs.
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_cores() -> int:
    """Estimate how many CPUs other programs leave. Call it before own work begins: that counts, too.

    Returns:
        CPUs of this process less the system's load of the last minute, at least 1.
    """
    count = usable_cores()
    try:
        load = os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows
        return count
    return max(1, count - round(load))


@contextmanager
def bounded_threads(most: int) -> Iterator[None]:
    """Let the libraries that are loaded now use at most so many threads inside the block.

    A parallel product waits for its slowest thread. If another program has the core of one of them, it waits for that
    program; with one thread it does not.

    Args:
        most: Number of threads; a lower number that is set already stays.

    Yields:
        Nothing.
    """
    from threadpoolctl import ThreadpoolController

    controller = ThreadpoolController()
    limits: dict[str, int] = {}
    for one in controller.info():
        limits[one["prefix"]] = min(limits.get(one["prefix"], most), one["num_threads"])
    with controller.limit(limits=limits):
        yield
