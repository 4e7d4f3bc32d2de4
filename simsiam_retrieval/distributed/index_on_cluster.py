"""Updating a sharded collection on a cluster: find what is missing, embed it, build the collection."""

import contextlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ..collection.index.build_shard_index import build
from ..collection.index.index_kinds import SHARDED_KINDS, check_kind
from ..collection.storage import shard_file
from ..collection.storage.catalog_file import FILE as CATALOG
from ..collection.storage.opening import open_store
from ..collection.storage.parquet_store import ParquetStore
from ..collection.storage.shard_manifest import ENCODER_FILE, FILE, Manifest, is_sharded, prepare, read_manifest
from ..collection.storage.writer_lock import HOLDER_FILE, LOCK_FILE, writing
from ..collection.update.results import Update
from ..collection.update.update_options import NO_HOOKS, Hooks
from ..core.atomic_files import write_json
from ..core.errors import UserError
from ..core.paths import absolute, is_missing
from ..encoder.find_encoder import find_encoder
from ..encoder.onnx_encoder import Encoder
from .cluster import Cluster, connected
from .cluster_options import Options
from .existing_shards import Known, Stock
from .list_sources import Found, cut, find_images
from .locations import exact, is_url, located
from .make_shards import make, todo_of
from .pieces import SHARD_IMAGES, Piece

USUAL = Options()
LISTED_HERE = 100  # up to so many local archives and tables are listed here, faster than starting a cluster


def index_on_cluster(
    sources: Sequence[str],
    folder: Path,
    options: Options = USUAL,
    hooks: Hooks = NO_HOOKS,
) -> Update:
    """Update a sharded collection on a cluster, or create it.

    If a run ends early, finished shards stay, and the next run continues.

    Args:
        sources: Folders, files or URLs; empty for all sources that the collection was made of.
        folder: The collection's folder.
        options: Options of the update.
        hooks: Callbacks for progress.

    Returns:
        What was changed.

    Raises:
        UserError: A source does not exist or contains no image, the collection is not sharded or has another encoder,
            or the cluster cannot be joined or is lost.
    """
    if options.workers == 0:
        raise UserError("--workers 0: a cluster needs at least 1")
    check_kind(options.index or "auto", SHARDED_KINDS)
    folder = absolute(folder)
    is_new = not is_sharded(folder)
    if is_new:
        _check_free(folder)
    recorded = [] if is_new else read_manifest(folder).sources
    named = _apart([located(source) for source in sources], recorded)
    encoder_file = folder / ENCODER_FILE if options.encoder is None and not is_new else find_encoder(options.encoder)
    Encoder(encoder_file, device="cpu")  # fail now if it cannot be used, before listing many files
    found = {source: find_images(source) for source in named or recorded if not (not named and _is_gone(source))}
    if is_new and not any(map(_holds_images, found.values())):
        raise UserError(f"{', '.join(named)}: no image files, tar archives or Parquet files in there")
    found_folder = folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    with writing(folder, hooks.on_wait), contextlib.ExitStack() as stack:
        try:
            made = prepare(folder, encoder_file, named)
            return _Update(folder, made, options, hooks, stack).run(found)
        except (UserError, KeyboardInterrupt) as error:
            if is_new and (isinstance(error, _NothingUsable) or not shard_file.shard_names(folder)):
                _remove(folder, keep_folder=found_folder)
            raise


class _NothingUsable(UserError):
    """No image can be used, so no collection is created."""


class _Update:
    """One update, with the lock held."""

    def __init__(
        self, folder: Path, made: Manifest, options: Options, hooks: Hooks, stack: contextlib.ExitStack
    ) -> None:
        self._folder, self._manifest, self._options, self._hooks, self._stack = folder, made, options, hooks, stack

    def run(self, found: dict[str, Found]) -> Update:
        """Run the update.

        Args:
            found: Source -> its files.

        Returns:
            What was changed.
        """
        stock, report = Stock(self._folder, self._manifest.encoder, self._manifest.dim), Update()
        kept = self._kept(found, stock, report)
        pieces = {piece.name(self._manifest.encoder): piece for piece in self._cut(found, report)}
        missing = [name for name in pieces if name not in stock.names or stock.may_improve(name)]
        stale = stock.names - pieces.keys() - kept
        known = stock.rows(stale | (stock.names & set(missing)))
        published = _published(self._folder)
        before = {path: row for path, row in known.items() if row.usable and row.shard in published}
        todos = [todo_of(pieces[name], name, known) for name in missing]
        self._hooks.on_start(sum(len(todo.rest) for todo in todos))
        make(todos, stock, self._embed, self._manifest.encoder, self._manifest.dim)
        wanted = sorted(kept | pieces.keys())
        report.failed += stock.failures(wanted)
        report.images = stock.images(wanted)
        if not report.images:
            self._refuse(report, found)
        _count(report, stock, {name for name in wanted if name not in published} | set(missing), before)
        report.rebuilt = self._build(wanted)
        stock.remove(stale)  # readers see the new state by now
        if self._options.prune:
            self._forget([source for source in self._manifest.sources if source not in found and _is_gone(source)])
        return report

    @cached_property
    def _cluster(self) -> Cluster:
        """The cluster, joined at the first use: a run with nothing to do needs none."""
        return self._stack.enter_context(connected(self._options.address, self._options.workers))

    def _map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        items = list(items)
        return self._cluster.map(function, items) if items else iter(())

    def _map_beside(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """Like ``_map`` if all machines see the collection's folder; otherwise on this machine."""
        items = list(items)
        if items and not self._cluster.all_see(self._folder / FILE):
            self._hooks.on_remark(f"not all machines of the cluster see {self._folder}: the index is built on this one")
            return map(function, items)
        return self._map(function, items)

    def _kept(self, found: dict[str, Found], stock: Stock, report: Update) -> set[str]:
        """Shards of sources that are not in this update, or are missing or empty (a drive may not be mounted)."""
        kept: set[str] = set()
        for source in self._manifest.sources:
            there = {name for name in stock.names if stock.source(name) == exact(source)[0]}
            away = _is_gone(source) if source not in found else not _holds_images(found[source])
            if away and there and not self._options.prune:
                report.held.append((Path(source), stock.images(there)))
            if source not in found or away:
                kept |= set() if away and self._options.prune else there
        return kept

    def _cut(self, found: dict[str, Found], report: Update) -> Iterator[Piece]:
        for source, what in found.items():
            few = not is_url(source) and len(what.archives) + len(what.tables) <= LISTED_HERE
            run = map if few else self._map
            most = self._options.shard_images or SHARD_IMAGES
            pieces = cut(source, what, run, column=self._options.image_column, most=most)
            report.other_files += pieces.other
            report.failed += pieces.unreadable
            yield from pieces.pieces

    def _embed(self, pieces: Sequence[Piece]) -> Iterator[tuple[int, bytes]]:
        device, gpus = self._options.device or "auto", self._options.num_gpus
        if gpus is None:
            gpus = 0.0 if device == "cpu" or (device == "auto" and self._cluster.gpus < 1) else 1.0
        return self._cluster.embed(
            pieces,
            self._folder,
            self._manifest.encoder,
            device=device if gpus else "cpu",
            workers=self._options.workers,
            num_gpus=gpus,
            on_progress=self._hooks.on_progress,
            on_remark=self._hooks.on_remark,
        )

    def _build(self, wanted: list[str]) -> bool:
        """Build the collection; return whether anything changed."""
        built = build(
            self._folder,
            shards=wanted,
            run=self._map_beside,
            kind=self._options.index,
            recall=self._options.recall,
            locked=True,
            on_progress=self._hooks.on_stage,
        )
        return built.changed

    def _refuse(self, report: Update, found: dict[str, Found]) -> None:
        named = ", ".join(found) or str(self._folder)
        if not report.failed:
            raise UserError(f"{named}: no images in there; --prune does not empty a collection, delete its folder")
        path, reason = report.failed[0]
        raise _NothingUsable(f"{named}: none of {len(report.failed)} images can be read; the first: {path}: {reason}")

    def _forget(self, sources: list[str]) -> None:
        if sources:
            rest = [source for source in self._manifest.sources if source not in sources]
            write_json(self._folder / FILE, asdict(replace(self._manifest, sources=rest)))


def _published(folder: Path) -> set[str]:
    """Names of the shards that readers see."""
    if not (folder / CATALOG).exists():
        return set()
    with contextlib.closing(open_store(folder)) as catalog:
        assert isinstance(catalog, ParquetStore)
        generation = catalog.generation()
        return {shard.name for shard in catalog.shards() if shard.generation <= generation}


def _count(report: Update, stock: Stock, new: set[str], before: dict[str | bytes, Known]) -> None:
    """Count added, changed and removed images; ``before`` are the usable rows that are removed or replaced."""
    if not before:
        report.added = stock.images(new)
        return
    after = {path: row for path, row in stock.rows(new).items() if row.usable}
    report.added = len(after.keys() - before.keys())
    report.changed = sum(path in before and not _same(row, before[path]) for path, row in after.items())
    report.removed = len(before.keys() - after.keys())


def _same(row: Known, other: Known) -> bool:
    return (row.size, row.mtime_ns) == (other.size, other.mtime_ns)


def _is_gone(source: str) -> bool:
    return not is_url(source) and is_missing(Path(source))


def _holds_images(found: Found) -> bool:
    return bool(found.files or found.archives or found.tables)


def _apart(named: list[str], recorded: list[str]) -> list[str]:
    """Return each source once; raise ``UserError`` if one is inside another, because its images would count twice."""
    named = list(dict.fromkeys(named))
    if not named and not recorded:
        raise UserError("name a folder, archive, table or URL of images to index")
    for one in named:
        for other in (*named, *recorded):
            if _lies_in(one, other):
                raise UserError(f"{one}: is inside {other}; name only {other}")
        for other in recorded:
            if _lies_in(other, one):
                raise UserError(f"{one}: contains {other}, which is in the collection; name a new --collection")
    return named


def _lies_in(one: str, other: str) -> bool:
    return one.startswith(other.rstrip("/") + "/")


def _check_free(folder: Path) -> None:
    ours = (ENCODER_FILE, shard_file.FOLDER, LOCK_FILE, HOLDER_FILE)  # files that an interrupted creation leaves
    if (folder / CATALOG).exists():
        raise UserError(f"{folder}: a collection without shards; name a new folder with --collection")
    if folder.exists() and (
        not folder.is_dir() or any(file.name not in ours and file.suffix != ".tmp" for file in folder.iterdir())
    ):
        raise UserError(f"{folder}: exists and is not an empty folder; choose another --collection")


def _remove(folder: Path, *, keep_folder: bool) -> None:
    """Delete the files of a collection that was never built."""
    for name in (FILE, ENCODER_FILE, HOLDER_FILE, LOCK_FILE):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / shard_file.FOLDER, ignore_errors=True)
    if not keep_folder:
        with contextlib.suppress(OSError):
            folder.rmdir()
