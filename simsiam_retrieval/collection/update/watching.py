"""Keep a collection up to date: wait until something below its roots changes, update it, wait again."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import watchfiles
from watchfiles.main import FileChange

from ...core.errors import UserError
from ...core.paths import is_missing
from ...images.files import SUFFIXES, list_images
from ...images.mounts import mount_table, share_of
from ..collection import Collection, Update

LOOK_SECONDS = 1.0  # between two looks whether a root, or a drive below it, came or went
QUIET_SECONDS = 0.5  # without further changes; then a burst is over
BURST_SECONDS = 30.0  # after which an update begins even though changes go on
ATTEMPTS = 3  # at watching, before it counts as impossible
POLL_SECONDS = 60.0  # between two looks at all files where the system does not report changes


def watch_roots(
    collection: Collection,
    roots: Sequence[Path],
    *,
    poll: float | None = None,
    workers: int | None = None,
    on_wait: Callable[[str], None] = lambda text: None,
    on_remark: Callable[[str], None] = lambda text: None,
) -> Iterator[Update]:
    """Yield what an update of ``roots`` (absolute) did, at once and whenever something has changed below them.

    Roots and drives that vanish are held, as :meth:`Collection.update` holds them, and updated when they are back.
    Other updates are waited for, after ``on_wait`` was told. ``poll``: look at all files every so many seconds,
    instead of waiting for the system's word. Ends after an update that was interrupted.

    Raises KeyboardInterrupt on Ctrl-C between two updates, and :class:`UserError` as updates do.
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
                continue  # it went away just now: the next look finds that out
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
    """Yield once watching has begun, and then after every burst of changes that may matter to a collection.

    ``besides``: the collection's own folder, which may lie below a root and changes with every update.
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
                    begun, failures = True, 0  # what changed before this moment is still to be looked at
                    yield
                if _state(roots) != state:
                    break
        except PermissionError:
            # a folder below that may not be read; not set from the start, since it also hides a limit that is reached
            if forgiving:
                raise
            forgiving = True
        except (OSError, RuntimeError) as error:  # watchfiles' own errors are RuntimeErrors
            failures += 1
            if begun or failures < ATTEMPTS or _state(roots) != state:
                continue  # a root went away, or a name that is not UTF-8 came: watch anew, and look at all
            if poll is not None:
                raise UserError(f"{there[0]}: cannot be watched ({error})") from None
            on_remark(f"the system cannot report changes ({error}); looking every {POLL_SECONDS:.0f} s instead")
            poll, failures = POLL_SECONDS, 0


def _batches(roots: Sequence[Path], poll: float | None, forgiving: bool) -> Iterator[set[FileChange]]:
    """Changes in bursts; an empty set after :data:`LOOK_SECONDS` without any."""
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
    """Whether a change of this path can change the collection: images by their name, and whatever may be a folder."""
    path = Path(name)
    if path == besides or besides in path.parents:
        return False
    root = next((root for root in roots if root == path or root in path.parents), None)
    if root is None:
        return False
    if any(part.startswith(".") for part in path.parts[len(root.parts) :]):
        return False
    return path.suffix.lower() in SUFFIXES or path.is_dir() or not os.path.lexists(path)


def _state(roots: Sequence[Path]) -> tuple[dict[Path, tuple[int, int] | None], frozenset[Path]]:
    """Which file systems and folders the roots are now, and what is mounted below them."""
    identities: dict[Path, tuple[int, int] | None] = dict.fromkeys(roots)
    for root in roots:
        with contextlib.suppress(OSError, ValueError):
            status = root.stat()
            identities[root] = (status.st_dev, status.st_ino)
    wanted = set(roots)
    return identities, frozenset(mount for mount in mount_table() if not wanted.isdisjoint(mount.parents))
