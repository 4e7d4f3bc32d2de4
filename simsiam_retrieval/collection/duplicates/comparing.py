"""The part of ``Collection`` that finds duplicates."""

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from ...core.errors import UserError
from ..state import CollectionState
from ..storage.capabilities import Capability
from ..storage.catalog_file import explained
from ..storage.opening import open_store
from ..types import Duplicate
from .thresholds import check_threshold

if TYPE_CHECKING:
    from .comparison import Comparison


class CollectionDuplicates(CollectionState):
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
        self._require(Capability.COMPARE)
        from .comparison import compare

        check_threshold(least, self.encoder_identity, self.folder)
        return compare(self.folder, self.dim, least, on_progress)
