"""Building a sharded collection: one index over all shards, and a catalog of their rows.

The steps: train on a sample; add each part separately, wherever ``run`` runs it; write the rows into the catalog;
merge; measure; publish in one transaction. Readers see nothing before that. Intermediate files have names that depend
on their input, so the next build finds them: a killed build continues where it stopped.
"""

import contextlib
import hashlib
import json
import shutil
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from ...core.atomic_files import replacing
from ...core.errors import UserError
from ..storage import shard_manifest
from ..storage.catalog_file import FILE as CATALOG
from ..storage.catalog_file import explained
from ..storage.derived_files import load_arrays, save_arrays
from ..storage.opening import open_to_build
from ..storage.parquet_store import ParquetStore, Shard
from ..storage.shard_file import FOLDER, ROW_GROUP, Places, read_facts, read_rows, read_vectors, shard_file, shard_names
from ..storage.shard_reader import footer_identity, unit
from ..storage.writer_lock import writing
from . import mapped_index
from . import shard_parts as parts
from .index_types import SEED, SHARDED_KINDS, check_kind
from .make_index import INDEX_SEAL, alike_of, measured, noise_note, record_settings, recorded_settings
from .noise_level import SAMPLE, measure_noise
from .tuning import NEIGHBOURS, QUERIES, TIE, TIMED, Measured, check_recall

GROWTH = 4  # growth factor of a collection from which the lists are trained again
READ_FOR_SAMPLE = 4  # rows read per row of the sample: random row groups are read as a whole
ROWS_TOGETHER = 20_000  # rows per transaction of the catalog
SPARE = 1.05  # factor on the disk space that merging needs

Run = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
Progress = Callable[[str, int, int], None]  # stage, done, total


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
        kind = mapped_index.chosen_kind(settings.kind, rows)
        fresh = (
            anew or not made or made["kind"] != kind or rows > GROWTH * made["rows"] or 2 * GROWTH * rows < made["rows"]
            or not all(file.exists() for file in parts.trained_files(self.folder, made["key"]))
        )  # fmt: skip
        unchanged = not new and not gone and not fresh and settings.recall == made.get("recall")
        if unchanged and self._has_sound_index(generation):
            return self._report(Built())
        report = Built(new_shards=len(new), gone_shards=len(gone), changed=True)
        trained = self._trained(kind, known, rows) if fresh else made
        self.catalog.put_into_parts(parts.assigned(known, trained["vectors_a_part"], anew=fresh))
        known = self._again(known)
        tasks = parts.tasks_of(self.folder, trained["key"], known)
        self._add(tasks)
        images, nearest = self._fill(tasks, known)
        known = self._again(known)
        if images != sum(shard.images or 0 for shard in known):
            raise RuntimeError(f"{images} vectors, but {sum(shard.images or 0 for shard in known)} rows in the catalog")
        notes, lists = self._merged(tasks, images, nearest, settings.recall, generation + 1)
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

    # -- training

    def _trained(self, kind: str, shards: Sequence[Shard], rows: int) -> dict[str, Any]:
        """Train on a sample, unless a killed build has done so, even for fewer shards."""
        pending = self.catalog.noted_json("training") or {}
        if (
            pending and pending["kind"] == kind and pending["rows"] <= rows <= GROWTH * pending["rows"]
            and all(file.exists() for file in parts.trained_files(self.folder, pending["key"]))
        ):  # fmt: skip
            return pending
        content = json.dumps([kind, self.dim, sorted((shard.name, shard.identity) for shard in shards)])
        key = hashlib.sha256(content.encode()).hexdigest()[:32]
        index_file, queries_file = parts.trained_files(self.folder, key)
        sample, queries = self._sample(shards, mapped_index.sample_size(rows))
        if not len(sample):
            raise UserError(f"{self.folder / FOLDER}: no shard with an image in it; embed some first")
        self.on_progress("training", 0, 1)
        index = mapped_index.train(kind, mapped_index.lists_for(rows), sample)
        del sample
        if not save_arrays(queries_file, {"queries": queries}):
            raise UserError(f"{self.folder}: cannot be written; is the disk full? Nothing is lost; run it again")
        mapped_index.save(index, index_file)
        self.on_progress("training", 1, 1)
        vectors_a_part = max(1, parts.PART_BYTES // mapped_index.code_bytes(index))
        trained = {"key": key, "kind": kind, "rows": rows, "vectors_a_part": vectors_a_part}
        self.catalog.note("training", json.dumps(trained))
        return trained

    def _sample(self, shards: Sequence[Shard], count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Unit vectors for training (about ``count``, dim) and as queries (200 or fewer, dim); always the same."""
        generator = np.random.default_rng(SEED)
        groups = [(shard, group) for shard in shards for group in range(-(-shard.rows // ROW_GROUP))]
        wanted = min(len(groups), max(QUERIES, -(-READ_FOR_SAMPLE * count // ROW_GROUP)))
        chosen = sorted(generator.permutation(len(groups))[:wanted].tolist())
        by_shard: dict[Shard, list[int]] = {}
        for number in chosen:
            by_shard.setdefault(groups[number][0], []).append(groups[number][1])
        rows = sum(min(ROW_GROUP, s.rows - ROW_GROUP * g) for s, of_shard in by_shard.items() for g in of_shard)
        share = min(1.0, count / max(1, rows))
        sample = np.empty(
            (count + ROW_GROUP, self.dim), np.float32
        )  # one array that is filled step by step, to avoid a second copy
        taken = 0
        queries: list[NDArray[np.float16]] = []
        for done, (shard, of_shard) in enumerate(by_shard.items()):
            self.on_progress("sampling", done, len(by_shard))
            for vectors in read_vectors(shard_file(self.folder, shard.name), of_shard):
                vectors = vectors[vectors.any(axis=1)]
                some = vectors[generator.random(len(vectors)) < share][: len(sample) - taken]
                sample[taken : taken + len(some)] = unit(some)
                taken += len(some)
                queries.append(vectors[generator.random(len(vectors)) < 2 * QUERIES / rows])
        found = np.concatenate(queries) if queries else np.zeros((0, self.dim), np.float16)
        found = found[np.sort(generator.permutation(len(found))[:QUERIES])]
        return sample[:taken], unit(found)

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

    # -- merging and measuring

    def _merged(
        self,
        tasks: Sequence[parts.PartTask],
        images: int,
        nearest: NDArray[np.float32],
        recall: float,
        generation: int,
    ) -> tuple[dict[str, str], NDArray[np.uint64]]:
        """Write the index of a generation; return the facts for the catalog, and the checksums of its lists."""
        sources = [task.files[0] for task in tasks]
        self._check_space(sources)
        index_file, lists_file = mapped_index.files_of(self.folder, generation)
        trained = parts.trained_files(self.folder, tasks[0].trained)
        self.on_progress("merging", 0, 1)
        with contextlib.ExitStack() as stack:
            raw_index, raw_lists = (self.folder / f".{file.name}.tmp" for file in (index_file, lists_file))
            for file in (raw_index, raw_lists):
                stack.callback(file.unlink, missing_ok=True)
            total = mapped_index.merge(trained[0], sources, raw_index, raw_lists)
            index = mapped_index.open_mapped(raw_index, raw_lists)
            if index is None or index.ntotal != total or total != images:
                raise UserError(f"{self.folder}: the merged index cannot be read back; is the disk full? Run it again")
            arrays = load_arrays(trained[1], ["queries"]) or {}
            self.on_progress("merging", 1, 1)
            taken = self._tuned(index, arrays["queries"], nearest, recall)
            lists = mapped_index.seals_of(index, range(index.nlist))
            if raw_lists.exists():
                raw_lists.replace(lists_file)
            with replacing(index_file) as temporary, temporary.open("wb") as stream:
                faiss.write_index(index, faiss.PyCallbackIOWriter(stream.write))  # pyright: ignore[reportAttributeAccessIssue]
        return {
            "measured": json.dumps(None if taken is None else taken.as_dict()),
            INDEX_SEAL: json.dumps([generation, *mapped_index.hashes_of(self.folder, generation)]),
        }, lists

    def _check_space(self, sources: Sequence[Path]) -> None:
        needed = int(SPARE * sum(file.stat().st_size for file in sources))
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise UserError(
                f"{self.folder}: merging the index takes {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free; "
                "make room and run it again; what is done is kept"
            )

    def _tuned(
        self, index: faiss.IndexIVF, queries: NDArray[np.float32], nearest: NDArray[np.float32], asked: float
    ) -> Measured | None:
        """Raise nprobe until recall@10 reaches ``asked`` or its maximum; then measure the latency.

        Like ``tuning.tune``, but that needs all vectors in memory. Here each part has found its own exact neighbours.
        """
        if not len(queries) or not index.ntotal:
            return None
        held = mapped_index.ShardIndex(index, 0)
        found = min(NEIGHBOURS + 1, index.ntotal)
        floor = nearest[:, found - 1] - TIE
        probes = [1 << power for power in range(index.nlist.bit_length()) if 1 << power < index.nlist]
        recall, step = 0.0, 1
        for step in [*probes, index.nlist]:
            index.nprobe = step
            # reads only the requested lists, unlike a search
            _, ids = index.search(queries, min(index.ntotal, found * held.rescored))
            recall = self._recall(queries, ids, floor, found)
            if recall >= asked:
                break
        timed = []
        for query in queries[:: max(1, len(queries) // TIMED)][:TIMED]:
            start = time.perf_counter()
            _, ids = held.search(query[None], min(index.ntotal, found * held.rescored))
            self._scores(query[None], ids)
            timed.append(1000 * (time.perf_counter() - start))
        return Measured(
            kind=held.kind,
            images=index.ntotal,
            settings={"lists": index.nlist, "nprobe": step},
            asked=asked,
            recall=round(recall, 4),
            queries=len(queries),
            milliseconds=round(statistics.median(timed), 3),
            exact_milliseconds=None,
        )

    def _recall(
        self, queries: NDArray[np.float32], ids: NDArray[np.int64], floor: NDArray[np.float32], found: int
    ) -> float:
        """Mean fraction of the ten nearest (without the query itself) that ``ids`` (n, m) contain."""
        scores = -np.sort(-self._scores(queries, ids), axis=1)
        # the first result is the query itself, or a copy of it
        return float(np.mean((scores[:, 1:found] >= floor[:, None]).sum(axis=1) / max(1, found - 1)))

    def _scores(self, queries: NDArray[np.float32], ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Exact cosines of candidates ``ids`` (n, m) with their queries; -2 for no candidate."""
        wanted = np.unique(ids[ids >= 0])
        vectors = self.catalog.vectors_of(wanted, self.dim)
        scores = np.full(ids.shape, -2, np.float32)
        for row, candidates in enumerate(ids):
            there = candidates >= 0
            scores[row, there] = vectors[np.searchsorted(wanted, candidates[there])] @ queries[row]
        return scores

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
