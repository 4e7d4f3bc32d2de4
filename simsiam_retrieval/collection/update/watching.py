"""Keeping a collection up to date: wait until something below its roots changes, update it, wait again."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import watchfiles
from watchfiles.main import FileChange

from ...core.errors import UserError
from ...core.paths import is_missing
from ...images.dicom_names import is_unnamed_dicom
from ...images.files import SUFFIXES, list_images
from ...images.mounts import mount_table, share_of
from ..collection import Collection, Update

LOOK_SECONDS = 1.0  # time between checks whether a root, or a drive below it, has appeared or disappeared
QUIET_SECONDS = 0.5  # time without changes after which a burst of changes is over
BURST_SECONDS = 30.0  # time after which an update begins, even if changes continue
ATTEMPTS = 3  # failed attempts after which watching counts as impossible
POLL_SECONDS = 60.0  # time between checks of all files, if the system does not report changes


def watch_roots(
    collection: Collection,
    roots: Sequence[Path],
    *,
    poll: float | None = None,
    workers: int | None = None,
    on_wait: Callable[[str], None] = lambda text: None,
    on_remark: Callable[[str], None] = lambda text: None,
) -> Iterator[Update]:
    """Update at once, and again whenever something has changed below the roots.

    Roots and drives that disappear are held, as in ``Collection.update``, and updated when they are back. Ends after an
    interrupted update.

    Args:
        collection: The collection.
        roots: Absolute paths.
        poll: Check all files every so many seconds, instead of waiting for the system's reports.
        workers: Number of worker processes; None chooses it.
        on_wait: Called with a message before waiting for another process's update.
        on_remark: Called with messages.

    Yields:
        The result of each update.

    Raises:
        KeyboardInterrupt: Ctrl-C between two updates.
        UserError: As in ``Collection.update``.
    """
    shares = mount_table()
    for root in roots:
        if str(root).encode(errors="replace").decode() != str(root):
            raise UserError(f"{root}: cannot be watched, because its name is not UTF-8; rename it")
        share = share_of(root, shares)
        if share and poll is None:
            on_remark(
                f"{root}: on a network share ({share}), where changes made by other machines are not reported; "
                f"--poll {POLL_SECONDS:.0f} looks every minute"
            )
    for _ in changes(roots, collection.folder, poll=poll, on_remark=on_remark):
        before = _state(roots)
        try:
            listing = list_images([root for root in roots if not is_missing(root)])
        except UserError:
            if _state(roots) != before:
                continue  # it has just disappeared: the next check finds that out
            raise
        update = collection.update_listed(roots, listing, on_wait=on_wait, workers=workers)
        yield update
        if not update.finished:
            return


def changes(
    roots: Sequence[Path],
    besides: Path,
    *,
    poll: float | None = None,
    on_remark: Callable[[str], None] = lambda text: None,
) -> Iterator[None]:
    """Wait for bursts of changes that may matter to a collection.

    Args:
        roots: Absolute paths.
        besides: The collection's own folder, which may be below a root and changes with every update.
        poll: See ``watch_roots``.
        on_remark: Called with messages.

    Yields:
        None, once when watching has begun, and after every burst.

    Raises:
        UserError: A root cannot be watched.
    """
    failures, forgiving = 0, False
    while True:
        state = _state(roots)
        there = [root for root, identity in state[0].items() if identity]
        if not there:
            yield
            while _state(roots) == state:
                time.sleep(LOOK_SECONDS)
            continue
        begun = False
        try:
            for batch in _batches(there, poll, forgiving):
                if not begun or any(_matters(path, roots, besides) for _, path in batch):
                    begun, failures = True, 0  # changes before this moment must still be checked
                    yield
                if _state(roots) != state:
                    break
        except PermissionError:
            # an unreadable folder below a root; not set from the start, because it also hides a reached limit
            if forgiving:
                raise
            forgiving = True
        except (OSError, RuntimeError) as error:  # watchfiles raises RuntimeError
            failures += 1
            if begun or failures < ATTEMPTS or _state(roots) != state:
                continue  # a root disappeared, or a name is not UTF-8: watch again, and check all files
            if poll is not None:
                raise UserError(f"{there[0]}: cannot be watched ({error})") from None
            on_remark(f"the system cannot report changes ({error}); looking every {POLL_SECONDS:.0f} s instead")
            poll, failures = POLL_SECONDS, 0


def _batches(roots: Sequence[Path], poll: float | None, forgiving: bool) -> Iterator[set[FileChange]]:
    """Changes in bursts; an empty set after ``LOOK_SECONDS`` without changes."""
    yield from watchfiles.watch(
        *roots,
        watch_filter=None,
        debounce=round(BURST_SECONDS * 1000),
        step=round(QUIET_SECONDS * 1000),
        rust_timeout=round(LOOK_SECONDS * 1000),
        yield_on_timeout=True,
        force_polling=poll is not None,
        poll_delay_ms=round((poll or POLL_SECONDS) * 1000),
        ignore_permission_denied=forgiving,
    )


def _matters(name: str, roots: Sequence[Path], besides: Path) -> bool:
    """Whether a change of this path can change the collection: images by their name, and possible folders."""
    path = Path(name)
    if path == besides or besides in path.parents:
        return False
    root = next((root for root in roots if root == path or root in path.parents), None)
    if root is None:
        return False
    if any(part.startswith(".") for part in path.parts[len(root.parts) :]):
        return False
    return path.suffix.lower() in SUFFIXES or is_unnamed_dicom(path) or path.is_dir() or not os.path.lexists(path)


def _state(roots: Sequence[Path]) -> tuple[dict[Path, tuple[int, int] | None], frozenset[Path]]:
    """The current file systems and folders of the roots, and what is mounted below them."""
    identities: dict[Path, tuple[int, int] | None] = dict.fromkeys(roots)
    for root in roots:
        with contextlib.suppress(OSError, ValueError):
            status = root.stat()
            identities[root] = (status.st_dev, status.st_ino)
    wanted = set(roots)
    return identities, frozenset(mount for mount in mount_table() if not wanted.isdisjoint(mount.parents))
