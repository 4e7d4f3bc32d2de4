"""Choosing what to label, as a part of ``Collection``."""

import operator
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ...core.errors import UserError
from ..search.filters import Filter
from ..storage.catalog_file import explained
from ..storage.contents import CollectionContents
from ..types import Item

if TYPE_CHECKING:
    from .select_images import Selected


class CollectionSelection(CollectionContents):
    """Choosing images of a collection."""

    def select(
        self,
        count: int,
        strategy: str = "auto",
        *,
        where: Filter | None = None,
        labels: Mapping[int, str] | None = None,
        chosen: "Sequence[Item | Selected | int]" = (),
        seed: int = 0,
    ) -> "list[Selected]":
        """Choose images to label, the most useful first. The same arguments give the same images.

        Args:
            count: How many.
            strategy: One of ``collection.selection.select_images.STRATEGIES``; see docs/select.md.
            where: Choose only among images that meet this filter.
            labels: Item id -> label; None is ``labels()``. Labelled images are not chosen, and images like them come
                later.
            chosen: Images, results of an earlier call, or ids; they are treated in the same way. Ids of no image are
                left out, as in ``labels``.
            seed: Of k-means and of the random draws; 0 or more.

        Returns:
            The images, each with its rank and why it was chosen.

        Raises:
            UserError: The strategy is unknown or needs labels, there are fewer than ``count`` images to choose from, or
                it is a sharded collection of more than 200,000 images.
            TypeError: ``count`` or an id is no whole number, or one of ``chosen`` is nothing of the three.
        """
        count, seed = operator.index(count), operator.index(seed)
        candidates = None if not where else {item.id for item in self.matching(where)}
        ids, vectors = self.vectors()
        labels = self.labels() if labels is None else labels
        from .select_images import Selected, select_images  # a search need not wait for it

        labels = {operator.index(id_): label for id_, label in labels.items()}
        items = [one.item if isinstance(one, Selected) else one for one in chosen]
        earlier = [one.id if isinstance(one, Item) else operator.index(one) for one in items]

        choices = select_images(
            ids, vectors, count, strategy, candidates=candidates, labels=labels, chosen=earlier, seed=seed
        )
        with self._lock, explained(self.folder):
            found = self._store.items_by_id([choice.id for choice in choices])
        if len(found) < len(choices):
            raise UserError(f"{self.folder}: an update came between; select again")
        return [Selected(rank, found[choice.id], choice) for rank, choice in enumerate(choices, 1)]
