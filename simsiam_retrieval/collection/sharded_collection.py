"""A sharded collection as scripts and the app use it: the same class, less what needs all vectors at once."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Never

import numpy as np
from numpy.typing import NDArray

from ..core.errors import UserError
from ..encoder.onnx_encoder import Encoder
from .collection import Collection, Preview, Update
from .duplicates.comparison import Comparison
from .duplicates.find_duplicates import Duplicate
from .index.build_shard_index import build
from .index.make_index import INDEX_SEAL
from .index.mapped_index import ShardIndex, hashes_of
from .search.filters import Filter
from .search.shard_searcher import ShardSearcher
from .storage import shard_file
from .storage.catalog import FILE as CATALOG
from .storage.catalog import Catalog, Item, explained
from .storage.finding import Finding
from .storage.mending import mend
from .storage.shard_catalog import Shard, ShardCatalog
from .storage.shard_reader import footer_identity
from .storage.writer_lock import writing

WHOLE = 200_000  # images whose vectors are read together; see DESIGN in docs/sharded.md
MOST_MATCHING = 200_000  # images that a filter may leave where all of them are listed


class ShardedCollection(Collection):
    """A collection whose vectors stay in Parquet shards; :meth:`Collection.open` opens it.

    Images come in the order of their ids. Up to :data:`WHOLE` images all works that reads; what needs all vectors at
    once is refused beyond. Which images belong to it, only a build changes.
    """

    _catalog: ShardCatalog

    def __init__(self, folder: Path, catalog: Catalog, device: str = "cpu", *, float16: bool = False) -> None:
        if device == "cuda":
            raise UserError(f"{folder}: a sharded collection is searched on the CPU, from the disk; leave out the GPU")
        assert isinstance(catalog, ShardCatalog)
        super().__init__(folder, catalog, "cpu")
        self._searcher = ShardSearcher(catalog, self.dim, self._lock)

    # -- reading

    def matching(self, where: Filter) -> list[Item]:
        with self._lock, explained(self.folder):
            found = []
            for item in self._catalog.items_where(where):
                found.append(item)
                if len(found) > MOST_MATCHING:
                    raise UserError(f"more than {MOST_MATCHING:,} images meet the conditions; add another one")
            return found

    def sampled_items(self, count: int) -> list[Item]:
        with self._lock, explained(self.folder):
            return list(self._catalog.items_by_id(self._catalog.sampled_ids(count).tolist()).values())

    def vectors(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        self._only_small("reads all vectors at once", "read them in parts with vectors_of(ids)")
        return super().vectors()

    def set_labels(self, labels: Mapping[int, str | None]) -> list[int]:
        self._only_small("labels by content, which is looked up in all rows", "index the images to label on their own")
        return super().set_labels(labels)

    # -- duplicates

    def duplicates(
        self,
        threshold: float | None = None,
        *,
        exact: bool = False,
        on_progress: Callable[[int, int], None] = lambda rows, total: None,
    ) -> list[list[Duplicate]]:
        self._only_small("duplicates compare all images with each other", "search for an image's copies")
        return super().duplicates(threshold, exact=exact, on_progress=on_progress)

    def compare(self, least: float, on_progress: Callable[[int, int], None] = lambda rows, total: None) -> Comparison:
        self._only_small("duplicates compare all images with each other", "search for an image's copies")
        return super().compare(least, on_progress)

    # -- what only a build does

    def update_listed(self, *arguments: object, **options: object) -> Update:
        self._refuse()

    def update(self, *arguments: object, **options: object) -> Update:
        self._refuse()

    def preview(self, *arguments: object, **options: object) -> Preview:
        self._refuse()

    def remove(self, paths: Sequence[str | Path], *, on_wait: Callable[[str], None] | None = None) -> Update:
        self._refuse()

    def choose_index(
        self, kind: str | None = None, recall: float | None = None, *, on_wait: Callable[[str], None] | None = None
    ) -> None:
        self._refuse()

    def rebuild_index(
        self,
        kind: str | None = None,
        *,
        recall: float | None = None,
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        """Bring catalog and index up to date with the shards that are there; see :func:`.building.build`."""
        build(self.folder, kind=kind, recall=recall, on_wait=on_wait)

    def verify(self, *, on_wait: Callable[[str], None] | None = None) -> list[Finding]:
        """Read every shard against its checksums, and compare catalog and index with them.

        Rows of the catalog that are not what a sound shard says are put right; the rest is named.

        Raises :class:`UserError` for damage of the catalog's own pages, or of the encoder.
        """
        mended = mend(self.folder, on_wait)
        with writing(self.folder, on_wait), self._lock, explained(self.folder):
            if Encoder(self.folder / "encoder.onnx", device="cpu").identity != self.encoder_identity:
                raise UserError(f"{self.folder}: not the encoder that made this collection; put that one back")
            found = mended
            if strays := self._catalog.remove_strays():
                found.append(Finding(self.folder / CATALOG, f"{strays} rows belonged to no shard", "removed"))
            again = "put it back, or delete it, embed its images again and build"
            for shard in self._catalog.shards():
                file = shard_file.shard_file(self.folder, shard.name)
                try:
                    if footer_identity(file)[1] != shard.identity:
                        found.append(Finding(file, "not the shard that was built", "left; build again"))
                    else:
                        shard_file.check(file)
                        found += self._compared(shard, file)
                except UserError as error:
                    problem = str(error).removeprefix(f"{file}: ").partition(";")[0]
                    found.append(Finding(file, problem, f"left; {again}"))
            generation = self._catalog.generation()
            sealed = self._catalog.noted_json(INDEX_SEAL)
            file = self.folder / f"index-{generation}.faiss"
            if sealed not in (None, [generation, *hashes_of(self.folder, generation)]):
                found.append(
                    Finding(file, "it or the file of its lists does not fit its checksum", "left; build again")
                )
            elif (count := self._catalog.count()) != self._indexed():
                found.append(Finding(file, f"missing, damaged, or not of {count} images", "left; build again"))
            return found

    def _compared(self, shard: Shard, file: Path) -> Iterator[Finding]:
        """Compare the catalog's rows of a shard with the shard itself, which is sound, and put them right."""
        rows = [row for group in shard_file.read_rows(file) for row in group]
        places = [place for place, _ in shard_file.read_places(file)]
        differing = self._catalog.differing_rows(shard, rows, places)
        if differing or not self._catalog.sealed(shard):
            self._catalog.fill([(shard, rows, places)])
        if differing:
            problem = f"{differing} rows differ from those of shard {file.name}"
            yield Finding(self.folder / CATALOG, problem, "put right")

    def _indexed(self) -> int | None:
        generation = self._catalog.generation()
        index = ShardIndex.load(self.folder, generation, seals=self._catalog.list_seals(generation))
        return None if index is None or not index.holds_sound_lists() else len(index)

    def _only_small(self, why: str, instead: str) -> None:
        count = len(self)
        if count > WHOLE:
            raise UserError(
                f"{self.folder}: {why}, which sharded collections of more than {WHOLE:,} images refuse; {instead}"
            )

    def _refuse(self) -> Never:
        raise UserError(
            f"{self.folder}: a sharded collection; its images are embedded and forgotten by "
            "python -m simsiam_retrieval.index --engine ray, and its index is built with --rebuild-index"
        )
