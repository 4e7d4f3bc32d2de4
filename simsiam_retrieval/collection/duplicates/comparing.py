"""The part of ``Collection`` that finds duplicates.

What compares is imported when it is called, so that a search need not wait for it.
"""

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from ...core.errors import UserError
from ..regions.reading import CollectionRegions
from ..storage.capabilities import Capability
from ..storage.catalog_file import explained
from ..storage.opening import open_store
from ..types import Duplicate
from .thresholds import REGIONS_BELOW, check_threshold, compared_from

if TYPE_CHECKING:
    from .comparison import Comparison
    from .find_copies import Regions
    from .preferences import Preferences
    from .verifier import Progress


class CollectionDuplicates(CollectionRegions):
    """Files that show the same picture."""

    def duplicates(
        self,
        threshold: float | None = None,
        *,
        exact: bool = False,
        on_progress: Callable[[int, int], None] = lambda rows, total: None,
    ) -> list[list[Duplicate]]:
        """Find groups of files that show the same picture. Nothing is deleted.

        The largest group is first, and the best file is first in each group. The best file has the most pixels, then
        the most bytes; files that are gone or changed since they were indexed, and symbolic links, come later. Each
        file of a group has the same bytes as the best one, or a cosine of at least ``threshold`` with it; no two best
        files have.

        Needs about 100 MiB and 300 bytes per image, in addition to the vectors. Time grows with n² / 2.

        Args:
            threshold: Cosine in (0, 1]; None is the calibrated one of the shipped encoder.
            exact: Compare only bytes.
            on_progress: Called with the number of further images that were compared, and the total.

        Returns:
            The groups.

        Raises:
            UserError: The threshold is no cosine, or there is none for this encoder.
        """
        from .find_duplicates import find_duplicates

        self._require(Capability.COMPARE)
        if exact and threshold is not None:
            raise UserError("--exact compares bytes, --threshold compares vectors; choose one")
        least = None if exact else check_threshold(threshold, self.encoder_identity, self.folder)
        # a separate connection, so that threads that search need not wait
        with explained(self.folder), contextlib.closing(open_store(self.folder)) as catalog:
            return find_duplicates(catalog, self.dim, least, on_progress)

    def copies(
        self,
        threshold: float | None = None,
        preferences: "Preferences | None" = None,
        *,
        exact: bool = False,
        on_progress: "Progress" = lambda stage, done, total: None,
        workers: int | None = None,
    ) -> list[list[Duplicate]]:
        """Find groups of files that show the same picture, and compare their pixels: every pair has a kind.

        Pairs with similar vectors, and pairs of a region and a similar picture if the collection has regions, are
        candidates. Their pixels are compared at 512 px, in worker processes, and the verdicts are kept in the
        collection's folder, so that the next call compares only new pairs. Nothing is deleted.

        Groups of copies come first, each with the best file first; each other file was compared with that one. Then
        come groups of pictures that are only similar ("burst", "look-alike"). A best file may be in one of those, too.

        Args:
            threshold: Lowest cosine of pairs that are listed although they are no copies; None is the calibrated one
                of the shipped encoder. Copies are found below it, too.
            preferences: Which file is the best, and which pairs are of interest.
            exact: Find only files with equal bytes.
            on_progress: Called with the stage ("comparing" for vectors, "verifying" for pixels, "left out" for pairs
                that are too many), done and total.
            workers: Number of processes that compare pixels; None is one per CPU, 0 this process.

        Returns:
            The groups.

        Raises:
            UserError: The threshold is no cosine, or there is none for this encoder; or a folder of the preferences has
                nothing of the collection.
        """
        from .find_copies import find_copies
        from .preferences import Preferences, with_absolute

        self._require(Capability.COMPARE)
        if exact and threshold is not None:
            raise UserError("--exact compares bytes, --threshold compares vectors; choose one")
        listed = 1.0 if exact else check_threshold(threshold, self.encoder_identity, self.folder)
        compared = compared_from(listed, self.encoder_identity)
        regions = None if exact else self._compared_regions()
        with explained(self.folder), contextlib.closing(open_store(self.folder)) as catalog:
            return find_copies(
                catalog,
                self.dim,
                None if exact else compared,
                listed,
                with_absolute(preferences or Preferences()),
                lambda: self.reading,
                on_progress,
                regions,
                compared_from(listed, self.encoder_identity, REGIONS_BELOW),
                workers,
            )

    def _compared_regions(self) -> "Regions | None":
        """Vectors of regions, if this collection has any."""
        if not self.has_regions:
            return None
        found = self.region_vectors()
        return found.ids, found.vectors

    def compare(self, least: float, on_progress: Callable[[int, int], None] = lambda rows, total: None) -> "Comparison":
        """Compare all images once; ``Comparison.groups`` then gives duplicates at any higher threshold at once.

        The comparison is of the current ``generation``, and of the files as they are now. It needs 12 bytes per pair,
        for at most the two million closest pairs, and about 300 bytes per image.

        Args:
            least: Lowest threshold.
            on_progress: See ``duplicates``.

        Returns:
            The comparison.

        Raises:
            UserError: The threshold is no cosine.
        """
        from .comparison import compare

        self._require(Capability.COMPARE)
        check_threshold(least, self.encoder_identity, self.folder)
        return compare(self.folder, self.dim, least, on_progress)
