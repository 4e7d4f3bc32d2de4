"""Files of a collection that show the same picture: equal in every byte, or close in the encoder's eyes."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .catalog import Catalog, Item
from .grouping import follow_leaders

# encoder identity -> lowest cosine of near duplicates, from benchmarks/duplicate_threshold.py; docs/duplicates.md
CALIBRATED = {"86fa80833c9d7c2a": 0.985}

PRESENT, LINK, CHANGED, GONE = "", "link", "changed", "gone"
_STATES = (PRESENT, LINK, CHANGED, GONE)  # the best file of a group is sought in this order


class Duplicate(NamedTuple):
    """A file of a group of duplicates."""

    item: Item
    score: float  # cosine with the best file of its group, in [-1, 1]; 1 for the best file itself
    exact: bool  # the same bytes as the best file
    state: str  # "", or "link" to a file (of the group), "changed" or "gone" since it was indexed

    @property
    def path(self) -> Path:
        return self.item.path


def check_threshold(threshold: float | None, encoder: str, folder: Path) -> float:
    """The threshold to use with an encoder.

    Raises :class:`UserError` when it is no cosine above 0, or when none is given and none is known.
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


def find_duplicates(
    catalog: Catalog, dim: int, threshold: float | None, on_progress: Callable[[int, int], None]
) -> list[list[Duplicate]]:
    """See :meth:`Collection.duplicates`; ``threshold`` None means equal bytes only."""
    with catalog.snapshot():
        ids, digests, states = _files(catalog)
        # a stable sort: within a state the order of quality stays
        order = np.argsort(states, kind="stable")
        ids, digests, states = ids[order], [digests[row] for row in order], states[order]
        first: dict[bytes, int] = {}
        original = np.fromiter(
            (row if digest is None else first.setdefault(digest, row) for row, digest in enumerate(digests)),
            np.int64,
            len(ids),
        )
        distinct = np.unique(original)
        best, scores = original, np.ones(len(ids), np.float32)
        vectors = None if threshold is None else catalog.vectors_of(ids[distinct], dim)
    # the snapshot is let go before the long part, so that updates need not wait
    if vectors is not None and threshold is not None:
        leader, score = follow_leaders(vectors, threshold, lambda rows: on_progress(rows, len(distinct)))
        place = np.searchsorted(distinct, original)
        best, scores = distinct[leader[place]], score[place]
    members: dict[int, list[int]] = {}
    for row in _rows_of_groups(best):
        members.setdefault(int(best[row]), []).append(row)
    with catalog.snapshot():
        items = catalog.items_by_id(int(ids[row]) for rows in members.values() for row in rows)
    groups = []
    for rows in members.values():
        group = [
            Duplicate(
                items[int(ids[row])],
                float(scores[row]),
                bool(original[row] == original[rows[0]]),
                _STATES[states[row]],
            )
            for row in rows
            if int(ids[row]) in items  # else an update came between and forgot it
        ]
        if len(group) > 1 and group[0].item.id == ids[rows[0]]:
            groups.append(_hard_links_marked(group))
    groups.sort(key=lambda group: (-len(group), -sum(file.item.size for file in group), os.fsencode(group[0].path)))
    return groups


def _files(catalog: Catalog) -> tuple[NDArray[np.int64], list[bytes | None], NDArray[np.int8]]:
    """Ids, digests and states of all images, best first: most pixels, then most bytes, then by name."""
    ids: list[int] = []
    digests: list[bytes | None] = []
    states = bytearray()
    for id_, path, size, mtime_ns, digest in catalog.by_quality():
        ids.append(id_)
        digests.append(digest)
        states.append(_STATES.index(_state(path, size, mtime_ns)))
    return np.array(ids, np.int64), digests, np.frombuffer(bytes(states), np.int8)


def _state(path: Path, size: int, mtime_ns: int) -> str:
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
    """Two names of one file take the space of one; removing the second frees nothing."""
    seen: set[tuple[int, int]] = set()
    marked = []
    for file in group:
        if file.state == PRESENT:
            try:
                status = file.path.stat()
            except OSError:
                file = file._replace(state=GONE)
            else:
                key = (status.st_dev, status.st_ino)
                file = file._replace(state=LINK) if key in seen else file
                seen.add(key)
        marked.append(file)
    return marked
