"""The files of a collection, best first, with their state on the disk and with equal bytes found."""

import itertools
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...images.page_paths import file_and_page
from ...images.system_folders import system_folder
from ..storage.store import Store
from ..types import Duplicate

PRESENT, LINK, CHANGED, GONE = "", "link", "changed", "gone"
STATES = (PRESENT, LINK, CHANGED, GONE)  # order of preference for the best file of a group


@dataclass(frozen=True)
class Files:
    """All images of a collection, best first: by state, system folders last, then by pixels, bytes and name.

    Attributes:
        ids: (n,).
        sizes: Bytes.
        paths: Paths.
        states: Positions in ``STATES``.
        original: Row of the first file with the same bytes; its own row for that file.
    """

    ids: NDArray[np.int64]
    sizes: NDArray[np.int64]
    paths: list[Path]
    states: NDArray[np.int8]
    original: NDArray[np.int64]

    @property
    def distinct(self) -> NDArray[np.int64]:
        """Rows of files that are the first with their bytes, ascending."""
        return np.unique(self.original)

    def reordered(self, order: NDArray[np.int64]) -> "Files":
        """Put the files in another order.

        Args:
            order: Rows, the best first, int64 (n,).

        Returns:
            The files in that order.
        """
        first: dict[int, int] = {}
        original = [first.setdefault(int(self.original[row]), place) for place, row in enumerate(order.tolist())]
        paths = [self.paths[row] for row in order.tolist()]
        return Files(self.ids[order], self.sizes[order], paths, self.states[order], np.array(original, np.int64))


def read_files(catalog: Store) -> Files:
    """List all images, and find equal bytes by their hashes. Checks each file's state, but reads none.

    Args:
        catalog: The catalog.

    Returns:
        The files.
    """
    ids: list[int] = []
    sizes: list[int] = []
    paths: list[Path] = []
    digests: list[bytes | None] = []
    states = bytearray()
    for id_, path, size, mtime_ns, digest in catalog.by_quality():
        ids.append(id_)
        sizes.append(size)
        paths.append(path)
        digests.append(digest)
        states.append(STATES.index(_state(path, size, mtime_ns)))
    # a stable sort keeps the order of quality within a state
    worse = np.array([in_system_folder(path) for path in paths], np.int16)
    order = np.argsort(2 * np.frombuffer(bytes(states), np.int8) + worse, kind="stable")
    first: dict[bytes, int] = {}
    original = np.empty(len(ids), np.int64)
    for row, place in enumerate(order.tolist()):
        digest = digests[place]
        original[row] = row if digest is None else first.setdefault(digest, row)
    return Files(
        np.array(ids, np.int64)[order],
        np.array(sizes, np.int64)[order],
        [paths[place] for place in order.tolist()],
        np.frombuffer(bytes(states), np.int8)[order],
        original,
    )


def in_system_folder(path: Path) -> bool:
    """Return whether a file is in the trash or in a folder that a system or program made for itself.

    Args:
        path: Absolute path.

    Returns:
        True if it is.
    """
    folders = path.parts[:-1]
    return any(system_folder(name, above) is not None for above, name in itertools.pairwise(folders))


def _state(path: Path, size: int, mtime_ns: int) -> str:
    path = file_and_page(path)[0]
    try:
        status = path.lstat()
        is_link = stat.S_ISLNK(status.st_mode)
        if is_link:
            status = path.stat()
    except OSError:
        return GONE
    if (status.st_size, status.st_mtime_ns) != (size, mtime_ns):
        return CHANGED
    return LINK if is_link else PRESENT


def mark_hard_links(group: list[Duplicate]) -> list[Duplicate]:
    """Mark hard links: two names of one file need its space once, so deleting the second frees nothing.

    Args:
        group: The files of a group.

    Returns:
        The same files; the second name of a file has the state ``LINK``.
    """
    seen: set[tuple[int, int]] = set()
    marked = []
    for file in group:
        if file.state == PRESENT:
            try:
                status = file_and_page(file.path)[0].stat()
            except OSError:
                file = file._replace(state=GONE)
            else:
                key = (status.st_dev, status.st_ino)
                file = file._replace(state=LINK) if key in seen else file
                seen.add(key)
        marked.append(file)
    return marked
