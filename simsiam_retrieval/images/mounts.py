"""Where other file systems begin: a drive or share that is not mounted looks like an empty folder."""

import os
from pathlib import Path

MOUNT_TABLE = Path("/proc/self/mountinfo")  # Linux; proc_pid_mountinfo(5)
# file systems whose changes the kernel reports only as far as this machine makes them
SHARES = frozenset(
    ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "virtiofs", "vboxsf", "fuse.sshfs", "fuse.rclone")
)


def mount_above(path: Path) -> Path | None:
    """The mount point at or above ``path``, or None where that is the root of all, which is always there."""
    for folder in (path, *path.parents[:-1]):
        if os.path.ismount(folder):
            return folder
    return None


def mount_table() -> dict[Path, str]:
    """Mount point -> its kind of file system, such as "ext4"; empty where the system has no such table."""
    mounts = {}
    try:
        lines = MOUNT_TABLE.read_bytes().splitlines()
    except OSError:
        return {}
    for line in lines:
        fields = line.split(b" ")
        # spaces, tabs, line breaks and backslashes are written as octal numbers
        where = fields[4]
        for code in (b"\\040", b"\\011", b"\\012", b"\\134"):  # the backslash last
            where = where.replace(code, bytes([int(code[1:], 8)]))
        mounts[Path(os.fsdecode(where))] = fields[fields.index(b"-") + 1].decode()
    return mounts


def share_of(path: Path, mounts: dict[Path, str]) -> str | None:
    """The kind of network share that ``path`` lies on, or has below it; None for none."""
    above = next((mounts[folder] for folder in (path, *path.parents) if folder in mounts), "")
    below = (kind for folder, kind in mounts.items() if path in folder.parents)
    return next((kind for kind in (above, *below) if kind in SHARES), None)
