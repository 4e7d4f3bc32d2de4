"""An update: list, plan, copy what is known, embed the rest, publish, and make the index."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from ...core.errors import UserError
from ...core.paths import absolute, is_missing
from ...encoder.onnx_encoder import Encoder
from ...images.files import ImageFile, Listing, list_images
from ...images.page_choice import FIRST
from ...images.page_listing import with_pages
from ...images.reading import Reading
from ..creation import tidy
from ..index import index_file
from ..index.make_index import is_outdated, make_index, recorded_settings
from ..index.vector_index import VectorIndex
from ..regions.region_index import SETTING, is_current, make_region_index
from ..storage.catalog_file import explained
from ..storage.opening import open_store, open_to_update
from ..storage.sqlite_store import SqliteStore
from ..storage.writer_lock import writing
from ..types import RETRY, Content, Entry, Known
from .catalog_entries import batches, embed_files
from .fill_regions import choose_regions, fill_regions, lacking_regions
from .patterns import Selection
from .planning import KnownContent, Plan, changed_inside, make_plan, moves
from .results import Preview, Update
from .update_options import Hooks, UpdateOptions

COPIED_AT_A_TIME = 64  # files


def listed(
    store: SqliteStore, lock: threading.RLock, roots: Sequence[str | Path] | None, options: UpdateOptions
) -> tuple[list[Path], Listing]:
    """List the files of the roots that are there.

    Args:
        store: The store.
        lock: Guards the store.
        roots: Paths; None for all that the collection was made of.
        options: Options of the update.

    Returns:
        Absolute roots, and their files.

    Raises:
        UserError: A root does not exist, unless ``prune``.
    """
    with lock, explained(store.folder):
        recorded = store.roots()
    paths = recorded if roots is None else [absolute(root) for root in roots]
    missing = [root for root in paths if is_missing(root)]
    if roots is not None:
        with lock, explained(store.folder):
            known = store.known_below(missing) if missing else {}
        for root in missing:
            count = sum(root in (path, *path.parents) for path in known)
            if not count and root not in recorded:
                list_images([root])  # says that it does not exist
            elif not options.prune:
                raise UserError(
                    f"{root}: not there now; its {count} images are kept; mount or restore it, "
                    "or forget them with --prune"
                )
    follow_links = options.follow_links
    if follow_links is None:
        with lock, explained(store.folder):
            follow_links = bool(store.noted("follow_links"))
    return paths, list_images([root for root in paths if root not in missing], follow_links=follow_links)


def run_update(
    folder: Path,
    dim: int,
    roots: Sequence[Path],
    listing: Listing,
    options: UpdateOptions,
    hooks: Hooks,
    embedder: Callable[[], tuple[Encoder, Reading]],
) -> tuple[Update, VectorIndex | None]:
    """Bring a collection up to date with what was listed; see ``Collection.update``.

    Args:
        folder: The collection's folder.
        dim: Values per vector.
        roots: Absolute paths.
        listing: Their files.
        options: Options of the update.
        hooks: Functions that are called.
        embedder: Returns the collection's encoder, and how files become pixels; called if something is to be embedded.

    Returns:
        What was done, and the new index if one was made.

    Raises:
        UserError: As in ``Collection.update``.
    """
    # a connection of its own: threads that search meanwhile need not wait for the whole update
    with (
        writing(folder, hooks.on_wait),
        explained(folder),
        contextlib.closing(open_to_update(folder)) as catalog,
    ):
        tidy(folder)
        if options.follow_links is not None:
            catalog.note("follow_links", "1" if options.follow_links else "")
        recorded = catalog.noted("pages") or FIRST
        if options.pages is not None and options.pages != recorded:
            catalog.note("pages", options.pages)
        pages = options.pages or recorded
        listing = with_pages(listing, pages, workers=options.workers)
        damaged = catalog.damaged_rows()
        plan, selection = _planned(catalog, roots, listing, options, damaged.values())
        catalog.discard_pending(id_ for id_, path in damaged.items() if path in plan.present)
        update, index = _update(catalog, dim, roots, listing, plan, selection, options, hooks, embedder, pages)
        update.damaged = sorted(set(damaged.values()))
        return update, index


def preview(folder: Path, roots: Sequence[Path], listing: Listing, options: UpdateOptions) -> Preview:
    """Return what ``run_update`` would do; nothing is changed.

    Args:
        folder: The collection's folder.
        roots: Absolute paths.
        listing: Their files.
        options: Options of the update.

    Returns:
        The preview.

    Raises:
        UserError: As in ``Collection.update``.
    """
    with explained(folder), contextlib.closing(open_store(folder)) as catalog:
        assert isinstance(catalog, SqliteStore)
        listing = with_pages(listing, catalog.noted("pages") or FIRST)
        plan, selection = _planned(catalog, roots, listing, options, catalog.damaged_rows().values())
        contents = KnownContent(catalog, plan.todo)
        recorded = bool(catalog.noted(SETTING))
        lacking = _lacking(catalog, listing, plan) if options.regions or (recorded and options.regions is None) else 0
    new = [file for file in plan.todo if file.path not in plan.known]
    found = {file.path: content.digest for file in new if (content := contents.of(file))}
    moved = moves(plan.gone, plan.known, found)
    left, arrived = {old for old, _ in moved}, {path for _, path in moved}
    return Preview(
        new=[file.path for file in new if file.path not in arrived],
        changed=[file.path for file in plan.todo if file.path in plan.known],
        moved=moved,
        gone=sorted((path for path in plan.gone if path not in left), key=os.fsencode),
        unusable=[failure for failure in listing.unreadable if selection.takes(failure[0])],
        left_out=plan.left_out,
        held=plan.held,
        regions_added=lacking,
        drops_regions=recorded and options.regions is False,
    )


def _lacking(catalog: SqliteStore, listing: Listing, plan: Plan) -> int:
    """Number of known images without regions whose files are there and did not change."""
    todo = {file.path for file in plan.todo}
    there = [file for file in listing.images if file.path in plan.present and file.path not in todo]
    return len(lacking_regions(catalog, there))


def _planned(
    catalog: SqliteStore, roots: Sequence[Path], listing: Listing, options: UpdateOptions, damaged: Iterable[Path]
) -> tuple[Plan, Selection]:
    """What is to do, after a look into the files that may have changed; and the patterns that decided it."""
    selection = catalog.selection().with_asked(roots, options.patterns)
    plan = make_plan(
        catalog,
        roots,
        listing,
        selection,
        options.patterns,
        prune=options.prune,
        reread=options.reread,
        damaged=frozenset(damaged),
    )
    changed = [file for file in plan.touched if changed_inside(file, plan.known[file.path])]
    plan.todo = sorted([*plan.todo, *changed], key=lambda file: os.fsencode(file.path))
    return plan, selection


def _update(
    catalog: SqliteStore,
    dim: int,
    roots: Sequence[Path],
    listing: Listing,
    plan: Plan,
    selection: Selection,
    options: UpdateOptions,
    hooks: Hooks,
    embedder: Callable[[], tuple[Encoder, Reading]],
    pages: str,
) -> tuple[Update, VectorIndex | None]:
    unreadable = [failure for failure in listing.unreadable if selection.takes(failure[0])]
    report = Update(
        other_files=listing.other,
        failed=unreadable,
        left_out=plan.left_out,
        kinds=dict(listing.kinds.most_common()),
        companions=listing.companions,
        system_folders=dict(listing.system_folders.most_common()),
        linked_folders=listing.linked_folders,
        held=plan.held,
    )
    index = None
    regions = choose_regions(catalog, options.regions)
    listed_now = [file for file in listing.images if file.path in plan.present]
    hooks.on_start(len(plan.todo) + (len(lacking_regions(catalog, listed_now)) if regions else 0))
    found: dict[Path, bytes] = {}
    gone, lost = plan.gone, [root for root in roots if options.prune and is_missing(root)]
    try:
        rest = _copy_known(catalog, plan, found, hooks.on_progress)
        chunks = _embedded(rest, embedder, options.workers, regions=regions) if rest else ()
        for entries in batches(chunks):
            for entry in entries:
                left = entry.pages - 1 if pages == FIRST else 0
                report.pages_left_out += left
                report.paged_files += left > 0
            _add(catalog, [entry for entry in entries if not _is_known(entry, plan.known.get(entry.path))])
            hooks.on_progress(len(entries))
    except KeyboardInterrupt:
        report.finished, gone, lost = False, [], []
    recorded = selection.without(lost) if lost or selection.by_root != catalog.selection().by_root else None
    kept = [root for root in roots if root not in lost]
    published = catalog.publish([*gone, *plan.stray], kept, lost_roots=lost, selection=recorded, mounts=plan.mounts)
    noted = plan.to_note(listing.images)
    if report.finished and noted:
        catalog.note_change_times(noted)
    report.added, report.changed, report.removed = published.new_images, published.changed_images, len(gone)
    report.reused, report.still_damaged = len(found), list(published.damaged)
    arrived = {path: digest for path, digest in found.items() if path not in plan.known}
    report.moved = len(moves(gone, plan.known, arrived))
    if regions and report.finished and (rest := lacking_regions(catalog, listed_now)):
        try:
            report.regions_added = fill_regions(catalog, rest, embedder, options.workers, hooks.on_progress)
        except KeyboardInterrupt:
            report.finished = False
    saved = index_file.path_of(catalog.folder, catalog.generation()).exists()
    if published.changed or not saved or is_outdated(catalog):
        index = make_index(catalog, dim)
        report.rebuilt = True
    elif options.regions is False or not is_current(catalog):
        make_region_index(catalog, dim, recorded_settings(catalog).recall)
    report.without_regions = len(catalog.without_regions()) if regions else 0
    report.failed += [failure for failure in catalog.failures(checked=False) if failure[0] in plan.present]
    report.images = catalog.count()
    return report, index


def _embedded(
    files: Sequence[ImageFile],
    embedder: Callable[[], tuple[Encoder, Reading]],
    workers: int | None,
    *,
    regions: bool,
) -> Iterator[list[Entry]]:
    encoder, reading = embedder()
    return embed_files(files, encoder, workers=workers, reading=reading, regions=regions)


def _copy_known(
    catalog: SqliteStore, plan: Plan, found: dict[Path, bytes], on_progress: Callable[[int], None]
) -> list[ImageFile]:
    """Store the files whose content is known, note them in ``found``, and return the others."""
    contents = KnownContent(catalog, plan.todo)
    rest: list[ImageFile] = []
    for start in range(0, len(plan.todo), COPIED_AT_A_TIME):
        pairs: list[tuple[ImageFile, Content]] = []
        for file in plan.todo[start : start + COPIED_AT_A_TIME]:
            content = contents.of(file)
            if content is None:
                rest.append(file)
            else:
                pairs.append((file, content))
        if pairs:
            refused = set(catalog.add_known(pairs))
            found.update((file.path, content.digest) for file, content in pairs if file not in refused)
            rest += refused
            on_progress(len(pairs) - len(refused))
    return sorted(rest, key=lambda file: os.fsencode(file.path))


def _add(catalog: SqliteStore, entries: list[Entry]) -> None:
    try:
        catalog.add(entries)
    except KeyboardInterrupt:
        catalog.add(entries)  # it was undone; a second Ctrl-C does without
        raise


def _is_known(entry: Entry, row: Known | None) -> bool:
    """Whether a file that was tried again failed as before: nothing to publish."""
    return row is not None and entry.error is not None and (entry.error, RETRY) == (row.error, row.mtime_ns)
