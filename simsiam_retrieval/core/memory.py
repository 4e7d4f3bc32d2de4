"""Free memory and core count of this machine."""

import os
from pathlib import Path

try:
    import resource
except ImportError:  # Windows
    resource = None

UNKNOWN = 4 << 30  # bytes that are assumed to be free if the system does not say
LEAST = 1 << 30  # bytes that a limited process may still allocate, however little is free

_MEMINFO = Path("/proc/meminfo")
_CONTAINER = Path("/sys/fs/cgroup")  # in a container: its own limits
_OWN = Path("/proc/self/statm")  # pages of this process; the sixth number is those of its data


def free_memory() -> int:
    """Return the memory that a program can still allocate.

    Returns:
        Bytes: the system's estimate, or the rest of the container's limit if that is smaller.
    """
    system = _available()
    try:
        limit = int((_CONTAINER / "memory.max").read_text())
        used = int((_CONTAINER / "memory.current").read_text()) - _file_cache()
        return max(0, min(system, limit - used))
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


def _file_cache() -> int:
    """Bytes of files that a container keeps in memory and gives up when a program needs the memory."""
    try:
        lines = (_CONTAINER / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(("inactive_file ", "active_file ")))


def limit_memory() -> None:
    """Limit what this process can still allocate to the memory that is free now. Only Linux has such a limit.

    If a damaged file makes a decoder ask for more, the decoder fails, and not the whole machine. Repeated calls move
    the limit.
    """
    if resource is None:
        return
    try:
        used = int(_OWN.read_text().split()[5]) * os.sysconf("SC_PAGE_SIZE")
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        limit = used + max(LEAST, free_memory())
        resource.setrlimit(resource.RLIMIT_DATA, (limit if hard < 0 else min(limit, hard), hard))
    except (OSError, ValueError, IndexError):
        return
