"""Opening a folder in this machine's own file manager."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from simsiam_retrieval.core.errors import UserError


def can_show() -> bool:
    """Whether this machine has a screen and a file manager that can be asked."""
    if sys.platform in ("win32", "darwin"):
        return True
    screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(screen) and shutil.which("xdg-open") is not None


def show_folder(file: Path) -> None:
    """Open the folder that ``file`` lies in, with the file selected where the file manager can.

    Raises :class:`UserError` where the folder is gone or nothing opens it.
    """
    if not file.parent.is_dir():
        raise UserError(f"{file.parent}: no longer there")
    try:
        subprocess.Popen(
            command(file, sys.platform),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise UserError(f"{file.parent}: nothing opens it here ({error.strerror})") from None


def command(file: Path, platform: str) -> list[str]:
    """What opens the folder of an absolute path on a platform, as ``sys.platform`` names it."""
    if platform == "win32":
        return ["explorer", f"/select,{file}"]
    if platform == "darwin":
        return ["open", "-R", str(file)]
    return ["xdg-open", str(file.parent)]
