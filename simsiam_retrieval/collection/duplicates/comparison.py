"""Duplicates at any threshold after one comparison, for the slider of the Duplicates page."""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from ..storage.catalog_file import explained
from ..storage.opening import open_store
from ..types import Duplicate
from .file_states import Files, read_files
from .find_duplicates import Group, describe, distinct_vectors, form_groups
from .near_pairs import Pairs, follow_among, near_pairs


class Comparison:
    """The near pairs of one state of a collection. Thread-safe.

    Args:
        folder: The collection's folder.
        files: All files.
        pairs: The near pairs.
    """

    def __init__(self, folder: Path, files: Files, pairs: Pairs) -> None:
        self._folder, self._files, self._pairs = folder, files, pairs
        self._distinct = len(files.distinct)

    @property
    def least(self) -> float:
        """The lowest possible threshold."""
        return self._pairs.least

    @property
    def images(self) -> int:
        """Number of images that were compared."""
        return len(self._files.ids)

    def groups(self, threshold: float | None) -> list[Group]:
        """Form groups as ``Collection.duplicates`` does, in the same order, within milliseconds.

        Args:
            threshold: Cosine; None for equal bytes only.

        Returns:
            The groups.

        Raises:
            ValueError: The threshold is below ``least``.
        """
        followed = None if threshold is None else follow_among(self._pairs, self._distinct, threshold)
        return form_groups(self._files, followed)

    def describe(self, groups: Sequence[Group]) -> list[list[Duplicate]]:
        """Read the files of groups from the catalog. Files that it no longer has are left out.

        Args:
            groups: Some of the groups.

        Returns:
            The files of each group.

        Raises:
            UserError: The collection is missing or damaged.
        """
        with explained(self._folder), contextlib.closing(open_store(self._folder)) as catalog:
            return describe(catalog, self._files, groups)

    def spare_bytes(self, groups: Sequence[Group]) -> int:
        """Compute the disk space of all files except the best ones; missing files and links do not count.

        Args:
            groups: The groups.

        Returns:
            Bytes.
        """
        spare = [row for group in groups for row in group.rows[1:]]
        return int(self._files.sizes[spare][self._files.states[spare] == 0].sum())


def compare(folder: Path, dim: int, least: float, on_progress: Callable[[int, int], None]) -> Comparison:
    """Compare all images of a collection; see ``Collection.compare``.

    Args:
        folder: The collection's folder.
        dim: Values per vector.
        least: Lowest threshold.
        on_progress: Called with done and total.

    Returns:
        The comparison.
    """
    with explained(folder), contextlib.closing(open_store(folder)) as catalog, catalog.snapshot():
        files = read_files(catalog)
        vectors = distinct_vectors(catalog, files, dim)
    return Comparison(folder, files, near_pairs(vectors, least, lambda rows: on_progress(rows, len(vectors))))
