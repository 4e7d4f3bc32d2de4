"""Free memory and core count of this machine."""

import os
from pathlib import Path

UNKNOWN = 4 << 30  # bytes that are assumed to be free if the system does not say

_MEMINFO = Path("/proc/meminfo")
_CONTAINER = Path("/sys/fs/cgroup")  # in a container: its own limits


def free_memory() -> int:
    """Return the memory that a program can still allocate.

    Returns:
        Bytes: the system's estimate, or the rest of the container's limit if that is smaller.
    """
    system = _available()
    try:
        limit = int((_CONTAINER / "memory.max").read_text())
        return max(0, min(system, limit - int((_CONTAINER / "memory.current").read_text())))
    except (OSError, ValueError):  # no container, or a container without a limit
        return system


def _available() -> int:
    try:
        for line in _MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return UNKNOWN
