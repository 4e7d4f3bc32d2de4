"""What this machine has to spare."""

import os
from pathlib import Path

UNKNOWN = 4 << 30  # bytes, where the system does not say

_MEMINFO = Path("/proc/meminfo")
_CONTAINER = Path("/sys/fs/cgroup")  # of a container, its own


def free_memory() -> int:
    """Bytes that a program can still have: the system's estimate, or what a container's limit leaves of it."""
    system = _available()
    try:
        limit = int((_CONTAINER / "memory.max").read_text())
        return max(0, min(system, limit - int((_CONTAINER / "memory.current").read_text())))
    except (OSError, ValueError):  # no container, or one without a limit
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
