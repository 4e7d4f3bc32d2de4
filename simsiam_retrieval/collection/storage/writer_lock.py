"""One writer at a time: a file lock, and a note of which process has it."""

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from ...core.errors import UserError
from ...core.text import printable

LOCK_FILE, HOLDER_FILE = ".lock", ".holder"


@contextlib.contextmanager
def writing(folder: Path, on_wait: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the writer's lock of a collection. The lock ends with its process, even if that is killed.

    Args:
        folder: The collection's folder.
        on_wait: If another process has the lock: called with a message, then this waits. None: raise an error instead.

    Yields:
        None.

    Raises:
        UserError: Another process has the lock, or the folder cannot be written.
    """
    from filelock import FileLock, Timeout  # loads asyncio, which readers need not wait for

    lock = FileLock(folder / LOCK_FILE)
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            running = f"{folder}: another update of this collection is running ({_holder(folder)})"
            if on_wait is None:
                raise UserError(f"{running}; try again when it is done, or give --wait") from None
            on_wait(f"{running}; waiting until it is done")
            lock.acquire(timeout=-1)
    except OSError as error:
        raise UserError(f"{folder}: no permission to write there ({error.strerror})") from None
    note = folder / HOLDER_FILE
    try:
        with contextlib.suppress(OSError):  # for example a full disk; the note is not essential
            now = datetime.now().astimezone().isoformat(" ", "seconds")
            note.write_text(f"process {os.getpid()} on {socket.gethostname()}, since {now}", encoding="utf-8")
        yield
    finally:
        with contextlib.suppress(OSError):
            note.unlink(missing_ok=True)
        lock.release()


def _holder(folder: Path) -> str:
    try:
        return printable((folder / HOLDER_FILE).read_text(encoding="utf-8", errors="replace")[:200]) or "just started"
    except OSError:
        return "just started"
