"""Mount points: a drive or network share that is not mounted looks like an empty folder."""

import os
from pathlib import Path

MOUNT_TABLE = Path("/proc/self/mountinfo")  # Linux; proc_pid_mountinfo(5)
# file systems of which the kernel reports only the changes that this machine makes
SHARES = frozenset(
    ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "virtiofs", "vboxsf", "fuse.sshfs", "fuse.rclone")
)


def mount_above(path: Path) -> Path | None:
    """Find the mount point at or above a path.

    Args:
        path: A path.

    Returns:
        The mount point; None if it is "/", which is always mounted.
    """
    for folder in (path, *path.parents[:-1]):
        if os.path.ismount(folder):
            return folder
    return None


def mount_table() -> dict[Path, str]:
    """Read the kernel's table of mount points.

    Returns:
        Mount point -> kind of file system, for example "ext4"; empty if the system has no such table.
    """
    mounts = {}
    try:
        lines = MOUNT_TABLE.read_bytes().splitlines()
    except OSError:
        return {}
    for line in lines:
        fields = line.split(b" ")
        # the table writes spaces, tabs, line breaks and backslashes as octal numbers
        where = fields[4]
        for code in (b"\\040", b"\\011", b"\\012", b"\\134"):  # backslash last
            where = where.replace(code, bytes([int(code[1:], 8)]))
        mounts[Path(os.fsdecode(where))] = fields[fields.index(b"-") + 1].decode()
    return mounts


def share_of(path: Path, mounts: dict[Path, str]) -> str | None:
    """Return the kind of network share that a path is on, or that is mounted below it.

    Args:
        path: A path.
        mounts: From ``mount_table``.

    Returns:
        The kind, for example "nfs4"; None for no share.
    """
    above = next((mounts[folder] for folder in (path, *path.parents) if folder in mounts), "")
    below = (kind for folder, kind in mounts.items() if path in folder.parents)
    return next((kind for kind in (above, *below) if kind in SHARES), None)
