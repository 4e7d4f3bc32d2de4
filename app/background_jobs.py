"""Work that takes minutes, in a thread of its own: it goes on while visitors come and go, and all see its progress."""

import logging
import threading
from collections.abc import Callable, Hashable

from simsiam_retrieval.core.errors import UserError


class Stopped(Exception):
    """Raised inside the work when it was cancelled."""


class Job:
    """One piece of work. ``error`` is a line for people where it failed, ``said`` what it returned otherwise."""

    def __init__(self, work: Callable[[Callable[[float], None]], str | None]) -> None:
        self.done = 0.0  # from 0 to 1
        self.error: str | None = None
        self.said: str | None = None
        self._stop = threading.Event()
        self._work = work
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether the work has not ended yet."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """End the work at its next report of progress."""
        self._stop.set()

    def wait(self) -> None:
        """Until it has ended."""
        self._thread.join()

    def _run(self) -> None:
        try:
            self.said = self._work(self._told)
        except Stopped:
            pass
        except UserError as error:
            self.error = str(error)
        except Exception:  # the page says that something went wrong, the terminal what
            logging.getLogger(__name__).exception("a job failed")
            self.error = "Something went wrong; the terminal says what."

    def _told(self, done: float) -> None:
        if self._stop.is_set():
            raise Stopped
        self.done = done


_jobs: dict[Hashable, Job] = {}
_lock = threading.Lock()


def job(key: Hashable) -> Job | None:
    """Return the work that was started last for a key, running or ended.

    Args:
        key: What the work is about.

    Returns:
        The job; None if there was none.
    """
    return _jobs.get(key)


def start(key: Hashable, work: Callable[[Callable[[float], None]], str | None]) -> Job:
    """Start work in a thread, unless another visitor has started it for the same key and it is still running.

    Args:
        key: What the work is about.
        work: Called with a function that takes the finished fraction; returns a message for people, or None.

    Returns:
        The running job.
    """
    with _lock:
        found = _jobs.get(key)
        if found is None or not found.running:
            found = _jobs[key] = Job(work)
        return found


def forget(key: Hashable) -> None:
    """Drop work that has ended.

    Args:
        key: What the work is about.
    """
    with _lock:
        if (found := _jobs.get(key)) is not None and not found.running:
            del _jobs[key]
