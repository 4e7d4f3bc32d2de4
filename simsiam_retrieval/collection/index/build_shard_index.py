"""Building a sharded collection: one index over all shards, and a catalog of their rows.

The steps: train on a sample; add each part separately, wherever ``run`` runs it; write the rows into the catalog;
merge; measure; publish in one transaction. Readers see nothing before that. Intermediate files have names that depend
on their input, so the next build finds them: a killed build continues where it stopped.
"""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import UserError
from ..storage import shard_manifest
from ..storage.catalog_file import FILE as CATALOG
from ..storage.catalog_file import explained
from ..storage.opening import open_to_build
from ..storage.parquet_reads import Shard
from ..storage.parquet_store import ParquetStore
from ..storage.shard_file import Places, shard_file, shard_names
from ..storage.shard_parquet_reader import read_facts, read_rows
from ..storage.shard_reader import footer_identity
from ..storage.writer_lock import writing
from . import make_mapped_index, mapped_index
from . import shard_parts as parts
from .index_kinds import SHARDED_KINDS, check_kind
from .make_index import INDEX_SEAL, alike_of, measured, noise_note, record_settings, recorded_settings
from .noise_level import SAMPLE, measure_noise
from .shard_merging import merge_parts
from .shard_training import GROWTH, Progress, train
from .tuning import Measured, check_recall

ROWS_TOGETHER = 20_000  # rows per transaction of the catalog

Run = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


@dataclass
class Built:
    """The result of a build.

    Attributes:
        images: Images in the collection afterwards.
        unusable: Images without a vector.
        shards: Shards in the collection afterwards.
        new_shards: Shards that were added.
        gone_shards: Shards that were removed.
        changed: Whether there is a new generation.
        measured: Measured recall and latency, or None.
    """

    images: int = 0
    unusable: int = 0
    shards: int = 0
    new_shards: int = 0
    gone_shards: int = 0
    changed: bool = False
    measured: Measured | None = None


def build(
    collection: Path,
    *,
    shards: Sequence[str] | None = None,
    run: Run = map,
    kind: str | None = None,
    recall: float | None = None,
    anew: bool = False,
    locked: bool = False,
    on_wait: Callable[[str], None] | None = None,
    on_progress: Progress = lambda stage, done, total: None,
) -> Built:
    """Update the catalog and the index of a sharded collection to its shards.

    Peak memory, in addition to the trained index (4 * dim bytes per list): for training twice 4 * dim bytes for each of
    64 vectors per list; for a part see ``shard_parts.add_part``; for the merge only pages that the system can take
    back.

    Args:
        collection: The collection's folder.
        shards: Names of the shards that belong to it; None for all files that are there. Other published shards are
            removed from the collection.
        run: Maps a picklable function over picklable tasks, like the built-in ``map``. It may use other processes, or
            other machines that see the folder under the same path.
        kind: Type of the index: auto, ivf, ivf-sq8 or ivf-pq. Stored for later builds.
        recall: Target recall@10. Stored for later builds.
        anew: Whether to train again even if the shards are known.
        locked: Whether the caller has the writer's lock.
        on_wait: Wait for another build; called with a message first.
        on_progress: Called with stage, done and total.

    Returns:
        What was done.

    Raises:
        UserError: A shard is damaged or of another encoder, the disk is full, or another build is running.
    """
    folder = collection.absolute()
    found = shard_manifest.read_manifest(folder)
    if kind is not None:
        check_kind(kind, SHARDED_KINDS)
    check_recall(1.0 if recall is None else recall)
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        raise UserError(f"{folder}: FAISS cannot map files below a name that is not UTF-8; rename it") from None
    with contextlib.nullcontext() if locked else writing(folder, on_wait), explained(folder):
        try:
            if not (folder / CATALOG).exists():
                ParquetStore.create(folder, {"encoder": found.encoder, "dim": str(found.dim), "next": "1"}).close()
            catalog = open_to_build(folder)
            catalog.take_copied_labels()
            with contextlib.closing(catalog):
                record_settings(catalog, kind, recall)
                names = shard_names(folder) if shards is None else sorted(set(shards))
                return _Build(folder, found, catalog, run, on_progress).bring_up_to_date(names, anew=anew)
        except OSError as error:
            raise UserError(
                f"{error.filename or folder}: {error.strerror or error}; nothing is lost; mend that and run it again"
            ) from None


class _Build:
    """One build; its caller has the lock."""

    def __init__(
        self, folder: Path, found: shard_manifest.Manifest, catalog: ParquetStore, run: Run, on_progress: Progress
    ) -> None:
        self.folder, self.manifest, self.catalog = folder, found, catalog
        self.run, self.on_progress = run, on_progress
        self.dim = found.dim
        (folder / parts.FOLDER).mkdir(exist_ok=True)

    def bring_up_to_date(self, names: Sequence[str], *, anew: bool) -> Built:
        """Run the build.

        Args:
            names: Names of the shards.
            anew: Whether to train again.

        Returns:
            What was done.
        """
        known, gone = self._registered(names)
        generation = self.catalog.generation()
        new = [shard for shard in known if shard.generation > generation]
        made = self.catalog.noted_json("trained") or {}
        rows = sum(shard.rows for shard in known)
        settings = recorded_settings(self.catalog)
        kind = make_mapped_index.chosen_kind(settings.kind, rows)
        fresh = (
            anew or not made or made["kind"] != kind or rows > GROWTH * made["rows"] or 2 * GROWTH * rows < made["rows"]
            or not all(file.exists() for file in parts.trained_files(self.folder, made["key"]))
        )  # fmt: skip
        unchanged = not new and not gone and not fresh and settings.recall == made.get("recall")
        if unchanged and self._has_sound_index(generation):
            return self._report(Built())
        report = Built(new_shards=len(new), gone_shards=len(gone), changed=True)
        trained = train(self.catalog, self.dim, kind, known, rows, self.on_progress) if fresh else made
        self.catalog.put_into_parts(parts.assigned(known, trained["vectors_a_part"], anew=fresh))
        known = self._again(known)
        tasks = parts.tasks_of(self.folder, trained["key"], known)
        self._add(tasks)
        images, nearest = self._fill(tasks, known)
        known = self._again(known)
        if images != sum(shard.images or 0 for shard in known):
            raise RuntimeError(f"{images} vectors, but {sum(shard.images or 0 for shard in known)} rows in the catalog")
        notes, lists = merge_parts(
            self.catalog, self.dim, tasks, images, nearest, settings.recall, generation + 1, self.on_progress
        )
        sampled = self.catalog.vectors_of(self.catalog.sample_of(known, SAMPLE), self.dim)
        noise = measure_noise(sampled, alike_of(self.catalog))
        notes |= {
            "noise": noise_note(generation + 1, noise),
            "trained": json.dumps({**trained, "recall": settings.recall}),
            "training": "{}",
            "index made with": json.dumps(asdict(settings)),
        }
        self.catalog.publish_shards(gone, notes, lists)
        self._tidy(tasks, trained["key"])
        return self._report(report)

    def _has_sound_index(self, generation: int) -> bool:
        sealed = self.catalog.noted_json(INDEX_SEAL)
        if sealed not in (None, [generation, *mapped_index.hashes_of(self.folder, generation)]):
            return False
        seals = self.catalog.list_seals(generation)
        index = mapped_index.ShardIndex.load(self.folder, generation, seals=seals)
        return index is not None and (sealed is not None or index.holds_sound_lists())

    def _again(self, shards: Sequence[Shard]) -> list[Shard]:
        """The same shards, as they are in the catalog now."""
        firsts = {shard.first for shard in shards}
        return [shard for shard in self.catalog.shards() if shard.first in firsts]

    def _report(self, report: Built) -> Built:
        shards = self.catalog.shards()
        report.images = self.catalog.count()
        report.shards, report.unusable = len(shards), sum(shard.rows for shard in shards) - report.images
        report.measured = measured(self.catalog)
        return report

    # -- which shards

    def _registered(self, names: Sequence[str]) -> tuple[list[Shard], list[Shard]]:
        """The shards that belong to the collection, new ones with new ids; and those that leave it."""
        generation = self.catalog.generation()
        wanted = {name: footer_identity(shard_file(self.folder, name))[1] for name in names}
        before = self.catalog.shards()
        known = [shard for shard in before if wanted.get(shard.name) == shard.identity]
        others = [shard for shard in before if wanted.get(shard.name) != shard.identity]
        self.catalog.forget(shard for shard in others if shard.generation > generation)
        have = {shard.name for shard in known}
        facts = {
            name: read_facts(shard_file(self.folder, name), self.manifest.encoder, self.dim)
            for name in wanted if name not in have
        }  # fmt: skip
        next_id = int(self.catalog.noted("next") or 1)
        new = []
        for name in sorted(facts, key=lambda name: (facts[name].first_path, name)):
            source = facts[name].extra.get("source", "")
            shard = Shard(next_id, name, wanted[name], facts[name].rows, None, source, -1, generation + 1)
            next_id = shard.end
            new.append(shard)
        if new:
            self.catalog.note("next", str(next_id))  # written first, because an unused id does no harm
            self.catalog.register(new)
        return [*known, *new], [shard for shard in others if shard.generation <= generation]

    # -- parts and rows

    def _add(self, tasks: Sequence[parts.PartTask]) -> None:
        self.on_progress("adding", 0, len(tasks))
        for done, _ in enumerate(self.run(parts.add_part, tasks), 1):
            self.on_progress("adding", done, len(tasks))

    def _fill(self, tasks: Sequence[parts.PartTask], shards: Sequence[Shard]) -> tuple[int, NDArray[np.float32]]:
        """Write missing rows of shards into the catalog, part by part.

        Returns the number of vectors, and the highest cosines (queries, KEPT) of each query among them.
        """
        to_fill = {shard.first: shard for shard in shards if shard.images is None}
        done, images, nearest = 0, 0, None
        self.on_progress("listing", 0, len(to_fill))
        for task in tasks:
            part = parts.read_part(task)
            if part is None:
                raise UserError(f"{self.folder / parts.FOLDER}: a part that was made is gone; run the build again")
            images += part.vectors
            both = part.nearest if nearest is None else np.hstack([nearest, part.nearest])
            nearest = -np.sort(-both, axis=1)[:, : parts.KEPT]
            new = [(to_fill[first], places) for first, places in part.places.items() if first in to_fill]
            for some in _batched(new):
                self.catalog.fill((shard, self._rows(shard), places) for shard, places in some)
                done += len(some)
                self.on_progress("listing", done, len(to_fill))
        assert nearest is not None  # there is a shard: training would have failed otherwise
        return images, nearest

    def _rows(self, shard: Shard) -> Iterator[dict[str, Any]]:
        return (row for group in read_rows(shard_file(self.folder, shard.name)) for row in group)

    # -- afterwards

    def _tidy(self, tasks: Sequence[parts.PartTask], key: str) -> None:
        """Delete older indexes and parts, which new readers no longer open."""
        keep = set(mapped_index.files_of(self.folder, self.catalog.generation()))
        for file in self._indexes():
            if file not in keep:
                with contextlib.suppress(OSError):
                    file.unlink()
        kept = [file for task in tasks for file in task.files]
        parts.remove_others(self.folder, [*kept, *parts.trained_files(self.folder, key)])

    def _indexes(self) -> Iterator[Path]:
        for suffix in (mapped_index.SUFFIX, mapped_index.LISTS):
            yield from self.folder.glob(f"index-*.{suffix}")
            yield from self.folder.glob(f".index-*.{suffix}*.tmp")


def _batched(shards: Sequence[tuple[Shard, list[Places]]]) -> Iterator[list[tuple[Shard, list[Places]]]]:
    """Shards for one transaction: each transaction waits for the disk, but a long one blocks readers."""
    batch: list[tuple[Shard, list[Places]]] = []
    for number, found in enumerate(shards, 1):
        batch.append(found)
        if sum(shard.rows for shard, _ in batch) >= ROWS_TOGETHER or number == len(shards):
            yield batch
            batch = []
