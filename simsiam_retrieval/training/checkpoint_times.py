"""When to write a checkpoint."""

import time
from collections.abc import Callable


def checkpoint_clock(minutes: float, steps: int = 0) -> Callable[[int], bool]:
    """A function of the steps done that says whether a checkpoint is due, and then counts it as written.

    Due when ``minutes`` have passed since the last one, and after every ``steps`` steps (0: by time alone).
    """
    written_at = time.monotonic()

    def due(done: int) -> bool:
        nonlocal written_at
        if not (steps and done % steps == 0) and time.monotonic() - written_at < 60 * minutes:
            return False
        written_at = time.monotonic()
        return True

    return due
