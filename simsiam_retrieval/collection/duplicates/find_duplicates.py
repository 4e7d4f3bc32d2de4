"""Files of a collection that show the same picture: equal in every byte, or similar to the encoder."""

import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...core.errors import UserError
from ...images.page_paths import file_and_page
from ..storage.store import Store
from ..types import Item
from .follow_leaders import follow_leaders
from .plain_pictures import without_plain

# encoder identity -> lowest cosine of near-duplicates; from benchmarks/duplicate_threshold.py, see docs/duplicates.md
CALIBRATED = {"58ad9a252f5dba23": 0.934, "b66f3e2b1e582e57": 0.926, "86fa80833c9d7c2a": 0.985}
# encoder identity -> cosine from which two files almost certainly show the same picture
SURE = {"58ad9a252f5dba23": 0.97, "b66f3e2b1e582e57": 0.98}

PRESENT, LINK, CHANGED, GONE = "", "link", "changed", "gone"
_STATES = (PRESENT, LINK, CHANGED, GONE)  # order of preference for the best file of a group


class Duplicate(NamedTuple):
    """A file of a group of duplicates.

    Attributes:
        item: The file.
        score: Cosine with the best file of its group; 1 for the best file itself.
        exact: Whether it has the same bytes as the best file.
        state: "", "link" (to a file of the group), or "changed" or "gone" since it was indexed.
    """

    item: Item
    score: float
    exact: bool
    state: str

    @property
    def path(self) -> Path:
        """Path of the file."""
        return self.item.path


def check_threshold(threshold: float | None, encoder: str, folder: Path) -> float:
    """Determine the threshold for an encoder.

    Args:
        threshold: The user's threshold, or None for the calibrated one.
        encoder: Identity of the encoder.
        folder: The collection's folder, for the message.

    Returns:
        The threshold.

    Raises:
        UserError: It is no cosine above 0, or there is no calibrated one.
    """
    if threshold is None:
        if encoder not in CALIBRATED:
            raise UserError(
                f"{folder}: no threshold is known for its encoder ({encoder}); give --threshold (docs/duplicates.md "
                "says how to find one), or --exact"
            )
        return CALIBRATED[encoder]
    if not 0 < threshold <= 1:
        raise UserError(f"--threshold {threshold:g}: a cosine above 0 and at most 1, such as 0.98")
    return threshold


def split_possible(
    groups: Sequence[list[Duplicate]], sure: float | None
) -> tuple[list[list[Duplicate]], list[list[Duplicate]]]:
    """Divide groups into files that surely show one picture and those that possibly do.

    Args:
        groups: As ``Collection.duplicates`` returns them, the best file of each first.
        sure: Cosine with the best file from which there is little doubt (``SURE``); None: there is never any.

    Returns:
        Groups of sure files and groups of possible ones, in the same order, each with the best file first. A group may
        be in both.
    """
    parts: tuple[list[list[Duplicate]], list[list[Duplicate]]] = [], []
    for best, *others in groups:
        surely = [file for file in others if is_sure(file, sure)]
        possibly = [file for file in others if not is_sure(file, sure)]
        for part, files in zip(parts, (surely, possibly), strict=True):
            if files:
                part.append([best, *files])
    return parts


def is_sure(file: Duplicate, sure: float | None) -> bool:
    """Return whether a file surely shows the picture of its group's best file.

    Args:
        file: The file.
        sure: See ``split_possible``.

    Returns:
        True if it does.
    """
    return sure is None or file.exact or file.score >= sure


@dataclass(frozen=True)
class Files:
    """All images of a collection, best first: existing files first, then by pixels, bytes and name.

    Attributes:
        ids: (n,).
        sizes: Bytes.
        paths: Paths.
        states: Positions in ``_STATES``.
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


class Group(NamedTuple):
    """Files that show one picture.

    Attributes:
        rows: Rows of ``Files``, the best one first.
        scores: Their cosines with the best one.
    """

    rows: list[int]
    scores: list[float]


def find_duplicates(
    catalog: Store, dim: int, threshold: float | None, on_progress: Callable[[int, int], None]
) -> list[list[Duplicate]]:
    """Find duplicates; see ``Collection.duplicates``.

    Args:
        catalog: The catalog.
        dim: Values per vector.
        threshold: Cosine; None for equal bytes only.
        on_progress: Called with done and total.

    Returns:
        The groups.
    """
    with catalog.snapshot():
        files = read_files(catalog)
        distinct = files.distinct
        vectors = None if threshold is None else distinct_vectors(catalog, files, dim)
    # the snapshot ends before the long part, so that updates need not wait
    followed = None
    if vectors is not None and threshold is not None:
        followed = follow_leaders(vectors, threshold, lambda rows: on_progress(rows, len(distinct)))
    return describe(catalog, files, form_groups(files, followed))


def distinct_vectors(catalog: Store, files: Files, dim: int) -> NDArray[np.float32]:
    """Read the vectors of the distinct files.

    Args:
        catalog: The catalog.
        files: All files.
        dim: Values per vector.

    Returns:
        float32 (n, dim), in the order of ``files.distinct``.
    """
    ids = files.ids[files.distinct]
    return without_plain(catalog, ids, catalog.vectors_of(ids, dim))


def form_groups(files: Files, followed: tuple[NDArray[np.int64], NDArray[np.float32]] | None) -> list[Group]:
    """Form groups of two or more files: the largest first, then by bytes, then by name.

    Args:
        files: All files.
        followed: Leader and cosine of each of ``files.distinct``, as positions there; None for equal bytes only.

    Returns:
        The groups.
    """
    best, scores = files.original, np.ones(len(files.ids), np.float32)
    if followed is not None:
        distinct = files.distinct
        place = np.searchsorted(distinct, files.original)
        best, scores = distinct[followed[0][place]], followed[1][place]
    members: dict[int, list[int]] = {}
    for row in _rows_of_groups(best):
        members.setdefault(int(best[row]), []).append(row)
    groups = [Group(rows, [float(scores[row]) for row in rows]) for rows in members.values()]
    groups.sort(
        key=lambda group: (
            -len(group.rows),
            -int(files.sizes[group.rows].sum()),
            os.fsencode(files.paths[group.rows[0]]),
        )
    )
    return groups


def describe(catalog: Store, files: Files, groups: Sequence[Group]) -> list[list[Duplicate]]:
    """Read the files of groups from the catalog.

    Files that the catalog no longer has, and groups without their best file, are left out.

    Args:
        catalog: The catalog.
        files: All files.
        groups: The groups.

    Returns:
        The files of each group.
    """
    with catalog.snapshot():
        items = catalog.items_by_id(int(files.ids[row]) for group in groups for row in group.rows)
    described = []
    for rows, scores in groups:
        found = [
            Duplicate(
                items[int(files.ids[row])],
                score,
                bool(files.original[row] == files.original[rows[0]]),
                _STATES[files.states[row]],
            )
            for row, score in zip(rows, scores, strict=True)
            if int(files.ids[row]) in items
        ]
        if len(found) > 1 and found[0].item.id == files.ids[rows[0]]:
            described.append(_hard_links_marked(found))
    return described


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
        states.append(_STATES.index(_state(path, size, mtime_ns)))
    # a stable sort keeps the order of quality within a state
    order = np.argsort(np.frombuffer(bytes(states), np.int8), kind="stable")
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


def _rows_of_groups(best: NDArray[np.int64]) -> list[int]:
    """Rows that share their best file with others, in order."""
    sizes = np.bincount(best, minlength=len(best))
    return np.flatnonzero(sizes[best] > 1).tolist()


def _hard_links_marked(group: list[Duplicate]) -> list[Duplicate]:
    """Mark hard links: two names of one file need its space once, so deleting the second frees nothing."""
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
