"""Opening a folder in this machine's own file manager."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from simsiam_retrieval.core.errors import UserError


def can_show() -> bool:
    """Return whether this machine has a screen and a file manager.

    Returns:
        True if it has.
    """
    if sys.platform in ("win32", "darwin"):
        return True
    screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(screen) and shutil.which("xdg-open") is not None


def show_folder(file: Path) -> None:
    """Open the folder of a file, with the file selected if the file manager can do that.

    Args:
        file: The file.

    Raises:
        UserError: The folder is gone, or nothing opens it.
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
    """Return the command that opens the folder of a file.

    Args:
        file: An absolute path.
        platform: As ``sys.platform`` names it.

    Returns:
        The words of the command.
    """
    if platform == "win32":
        return ["explorer", f"/select,{file}"]
    if platform == "darwin":
        return ["open", "-R", str(file)]
    return ["xdg-open", str(file.parent)]
