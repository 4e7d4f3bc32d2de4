"""Stopping a run: SIGINT and SIGTERM as an event that the loop checks between steps."""

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def stop_signals(*, insist: bool) -> Iterator[threading.Event]:
    """Turn the first SIGINT or SIGTERM into an event; a second one has its usual effect.

    Args:
        insist: Ignore later signals, too. A launcher forwards the signal that this process already got from the
            terminal; it must not stop the writing of the checkpoint.

    Yields:
        The event.
    """
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped  # signals can only be caught in the main thread
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number, frame) -> None:
        stopped.set()
        if not insist:
            signal.signal(number, before[number])

    for number in before:
        signal.signal(number, stop)
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
