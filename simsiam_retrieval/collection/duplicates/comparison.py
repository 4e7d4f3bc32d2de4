"""Duplicates at any threshold after one comparison, as the Duplicates page shows them while a slider moves."""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from ..storage.catalog_file import explained
from ..storage.opening import open_store
from .find_duplicates import Duplicate, Files, Group, describe, distinct_vectors, form_groups, read_files
from .near_pairs import Pairs, follow_among, near_pairs


class Comparison:
    """The near pairs of one state of a collection. Safe to share between threads."""

    def __init__(self, folder: Path, files: Files, pairs: Pairs) -> None:
        self._folder, self._files, self._pairs = folder, files, pairs
        self._distinct = len(files.distinct)

    @property
    def least(self) -> float:
        """The lowest threshold that groups can be had for."""
        return self._pairs.least

    @property
    def images(self) -> int:
        """How many were compared."""
        return len(self._files.ids)

    def groups(self, threshold: float | None) -> list[Group]:
        """The groups of :meth:`Collection.duplicates`, in the same order; None for equal bytes only.

        Takes milliseconds. Raises ``ValueError`` for a threshold below :attr:`least`.
        """
        followed = None if threshold is None else follow_among(self._pairs, self._distinct, threshold)
        return form_groups(self._files, followed)

    def describe(self, groups: Sequence[Group]) -> list[list[Duplicate]]:
        """The files of some of the groups, read from the catalog; without what it has forgotten since.

        Raises :class:`UserError` when the collection is gone or damaged.
        """
        with explained(self._folder), contextlib.closing(open_store(self._folder)) as catalog:
            return describe(catalog, self._files, groups)

    def spare_bytes(self, groups: Sequence[Group]) -> int:
        """What the files besides the best ones take on disk, as far as they are there and no links."""
        spare = [row for group in groups for row in group.rows[1:]]
        return int(self._files.sizes[spare][self._files.states[spare] == 0].sum())


def compare(folder: Path, dim: int, least: float, on_progress: Callable[[int, int], None]) -> Comparison:
    """See :meth:`Collection.compare`."""
    with explained(folder), contextlib.closing(open_store(folder)) as catalog, catalog.snapshot():
        files = read_files(catalog)
        vectors = distinct_vectors(catalog, files, dim)
    return Comparison(folder, files, near_pairs(vectors, least, lambda rows: on_progress(rows, len(vectors))))
