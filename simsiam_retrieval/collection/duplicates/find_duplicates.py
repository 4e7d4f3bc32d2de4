"""Files of a collection that show the same picture: equal in every byte, or similar to the encoder."""

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..storage.store import Store
from ..types import Duplicate
from .file_states import STATES, Files, mark_hard_links, read_files
from .follow_leaders import follow_leaders
from .plain_pictures import without_plain


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
                STATES[files.states[row]],
            )
            for row, score in zip(rows, scores, strict=True)
            if int(files.ids[row]) in items
        ]
        if len(found) > 1 and found[0].item.id == files.ids[rows[0]]:
            described.append(mark_hard_links(found))
    return described


def _rows_of_groups(best: NDArray[np.int64]) -> list[int]:
    """Rows that share their best file with others, in order."""
    sizes = np.bincount(best, minlength=len(best))
    return np.flatnonzero(sizes[best] > 1).tolist()
