"""Writing files atomically: after a crash there is the old file or the new one. Also reading JSON from outside."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Replace a file in one step: write to a temporary path, sync, rename.

    If the block raises, the old file stays and the temporary file is deleted.

    Args:
        path: The file to replace.

    Yields:
        A temporary path in the same folder.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)  # mkstemp's 0600 would hide the file from the group
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a new name in a folder survive a power failure, if the system supports it.

    Args:
        folder: The folder.
    """
    with contextlib.suppress(OSError):  # Windows, and some network file systems, cannot sync a folder
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, in one step.

    Args:
        path: The file.
        value: Anything that JSON can represent.
    """
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def parse_json(text: str | bytes) -> Any:
    """Parse JSON text from outside. Unlike ``json.loads``, it raises ValueError for deep nesting too.

    Args:
        text: The JSON text.

    Returns:
        The value.

    Raises:
        ValueError: It is not valid JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
