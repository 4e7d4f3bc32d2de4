"""The times at which checkpoints are written."""

import time
from collections.abc import Callable


def checkpoint_clock(minutes: float, steps: int = 0) -> Callable[[int], bool]:
    """Create a function that decides whether a checkpoint is due.

    Args:
        minutes: Due when so many minutes have passed since the last one.
        steps: Also due after every so many steps; 0 for time only.

    Returns:
        A function of the finished steps. If it returns True, the checkpoint counts as written.
    """
    written_at = time.monotonic()

    def due(done: int) -> bool:
        nonlocal written_at
        if not (steps and done % steps == 0) and time.monotonic() - written_at < 60 * minutes:
            return False
        written_at = time.monotonic()
        return True

    return due
