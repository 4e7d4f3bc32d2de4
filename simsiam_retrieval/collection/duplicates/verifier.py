"""Verdicts on pairs of a collection's files, from the cache or from their pixels."""

from collections.abc import Callable, Sequence
from typing import Self

from ...images.reading import Reading
from ..storage.store import Store
from ..types import Item
from .copy_groups import Edge
from .file_states import CHANGED, GONE, STATES, Files
from .pixels.kinds import Verdict
from .verdict_cache import VerdictCache
from .verify_pairs import UNREADABLE, PixelComparison, Source

COMPARING, VERIFYING, LEFT_OUT = "comparing", "verifying", "left out"  # stages
Progress = Callable[[str, int, int], None]  # stage, done, total


class Verifier:
    """Compares pairs of rows, and keeps the verdicts on contents; a context manager that ends worker processes.

    Args:
        catalog: The catalog.
        files: All files.
        items: Id -> image.
        cache: The cache.
        reading: Tells how files become pixels; asked only if pixels are compared.
        on_progress: Called with the stage ``VERIFYING``, done and total.
        workers: Number of processes.
    """

    def __init__(
        self,
        catalog: Store,
        files: Files,
        items: dict[int, Item],
        cache: VerdictCache,
        reading: Callable[[], Reading],
        on_progress: Progress,
        workers: int | None,
    ) -> None:
        self._catalog, self._files, self._items, self._cache = catalog, files, items, cache
        self._reading, self._on_progress, self._workers = reading, on_progress, workers
        self._digests = {id_: digest for id_, *_, digest in catalog.by_quality()}
        self._done = self._total = 0
        self._pixels: PixelComparison | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._pixels is not None:
            self._pixels.__exit__(*exception)

    def __call__(self, wave: Sequence[Edge]) -> list[Verdict]:
        """Compare pairs.

        Args:
            wave: Pairs of rows of ``files``.

        Returns:
            Their verdicts.
        """
        sources = [(self._source(one), self._source(other)) for one, other in wave]
        keys = [
            (one.digest, other.digest)
            if one.digest and other.digest and not (one.thumbnail or other.thumbnail)
            else None
            for one, other in sources
        ]
        known = self._cache.known(key for key in keys if key is not None)
        open_ = [place for place, key in enumerate(keys) if key is None or key not in known]
        found: dict[int, Verdict] = {place: known[key] for place, key in enumerate(keys) if key in known}
        if open_:
            self._total += len(open_)
            self._on_progress(VERIFYING, self._done, self._total)
            if self._pixels is None:
                self._pixels = PixelComparison(self._reading(), self._workers)
            fresh = self._pixels.compare([sources[place] for place in open_], self._advance)
            found.update(zip(open_, fresh, strict=True))
            lasting = [place for place in open_ if found[place] != UNREADABLE]
            self._cache.put({key: found[place] for place in lasting if (key := keys[place]) is not None})
        return [found[place] for place in range(len(wave))]

    def _advance(self, pairs: int) -> None:
        self._done += pairs
        self._on_progress(VERIFYING, self._done, self._total)

    def _source(self, row: int) -> Source:
        item = self._items[int(self._files.ids[row])]
        lost = STATES[self._files.states[row]] in (GONE, CHANGED)
        thumbnail = (self._catalog.thumbnail(item.id) or b"lost") if lost else None
        return Source(item.path, self._digests.get(item.id), item.width, item.height, item.taken, thumbnail)
