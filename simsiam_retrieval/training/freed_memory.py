"""How the C library treats freed memory while a network trains on a CPU."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
KEPT = 1 << 30  # bytes of free memory at the heap's end that are kept
LARGEST = 32 << 20  # bytes; glibc takes no more for the size from which it asks the system each time


def keep_freed_memory() -> bool:
    """Let freed memory stay with this process; returns whether the C library (glibc) can be told so.

    Every step frees and takes the same buffers. glibc would hand them back to the system each time and get them anew,
    one page fault for every 4 KB: a quarter of the time that augmentation at 32 px takes.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(mallopt(_MMAP_THRESHOLD, LARGEST)) and bool(mallopt(_TRIM_THRESHOLD, KEPT))
