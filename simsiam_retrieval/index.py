"""``python -m simsiam_retrieval.index FOLDER``."""

import signal
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from .core import cli
from .core.errors import UserError
from .core.text import printable, without_detail

if TYPE_CHECKING:
    from .collection.update.results import Update
    from .encoder.onnx_encoder import Encoder

EXAMPLES = """examples:
  index ./photos                           make or update the default collection
  index                                    update all its folders
  index ./photos --exclude private         without folders and files of this name
  index ./dem --range 0 2500               one grey scale for all elevations
  index --moved ./photos /mnt/photos       the folder is elsewhere now"""
SHOWN_FAILURES = 10
SHOWN_KINDS = 5
EXTRA = ": pip install 'simsiam-retrieval["  # in the reason of a file whose kind needs one
# suffixes of pictures and clips that this package does not read; the report mentions only these
UNREAD = frozenset(
    (
        *(".srf", ".sr2", ".x3f"),
        *(".psd", ".psb", ".xcf", ".kra", ".ai", ".eps", ".svg", ".pdf", ".jxr", ".tga"),
        *(".exr", ".hdr", ".ico", ".nii", ".svs", ".ndpi", ".heics"),
        *(".mov", ".mp4", ".m4v", ".avi", ".mkv", ".webm", ".3gp", ".mts", ".m2ts", ".mpg", ".mpeg", ".wmv", ".insv"),
    )
)


@dataclass(frozen=True)
class Arguments:
    """Index folders of images, or bring their index up to date.

    Only new and changed files are read, and files that are gone are forgotten. Broken files are listed.
    """

    folders: tyro.conf.Positional[Annotated[tuple[str, ...], tyro.conf.arg(metavar="[FOLDER ...]")]] = ()
    """Folders (or files) to index.
    With --engine ray also .tar archives, Parquet files, and URLs such as s3://BUCKET/FOLDER.
    Default: all folders that were indexed before."""
    collection: Path | None = None
    """Name or folder of the collection. Default: one in your data directory."""
    encoder: str | None = None
    """Encoder: a run folder, an .onnx file or hf://OWNER/NAME. Default: the shipped one."""
    include: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Take only files that match this pattern, such as '*.jpg'. Stored for later updates; may be repeated."""
    exclude: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Leave out what matches this pattern, such as 'private' or 'raw/**'. Stored for later updates; may be repeated."""
    dry_run: bool = False
    """List what an update would do, and change nothing."""
    prune: bool = False
    """Forget the images of a folder or drive that is missing or has no images, instead of keeping them."""
    reread: bool = False
    """Read every file, even if its size and times are unchanged."""
    follow_links: bool = False
    """Follow links to folders. Stored for later updates, until --ignore-links."""
    ignore_links: bool = False
    """Stop following links to folders."""
    moved: Annotated[tuple[str, str] | None, tyro.conf.arg(metavar="OLD NEW", help_behavior_hint="")] = None
    """Say that the indexed folder OLD is at NEW now; nothing is embedded again."""
    remove: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Forget the images at or below this path, and do nothing else. No picture is deleted. May be repeated."""
    verify: bool = False
    """Check catalog, vectors, index and encoder, mend what can be mended, and do nothing else."""
    rebuild_index: bool = False
    """Build the FAISS index again from the stored vectors, and do nothing else."""
    index: str | None = None
    """FAISS index type: auto, flat (exact), float16, ivf, ivf-sq8 or hnsw. Stored with the collection.
    Default: auto for a new collection."""
    recall: float | None = None
    """Target recall@10 of an approximate index. Stored with the collection. Default: 0.95."""
    range: str | None = None
    """Values that become black and white, beyond 8 bits: auto (as the file declares, else as it uses), per-image,
    or LOW HIGH for all images, as for elevation. Stored with a new collection. Default: auto."""
    bands: str | None = None
    """Bands of TIFF files used as red, green and blue, such as 4,3,2; the first is 1. Stored with a new collection."""
    pages: str | None = None
    """Pages of TIFF files and frames of DICOM files: first (of frames, the middle one), or all, each an image of its
    own. Stored for later updates. Default: first."""
    watch: bool = False
    """Keep running until Ctrl-C: update whenever something changes below the folders."""
    poll: float | None = None
    """With --watch: compare all files every N seconds, as network shares need."""
    wait: bool = False
    """Wait if another update of the collection is running."""
    device: str | None = None
    """Device of the encoder: auto, cpu, cuda or tensorrt. A GPU that is asked for and not used is an error.
    Default: auto."""
    workers: int | None = None
    """Number of worker processes. Default: one a core."""
    engine: Literal["local", "ray"] = "local"
    """local, or ray: embed on a Ray cluster into a sharded collection, which may be larger than memory."""
    address: str | None = None
    """With --engine ray: the cluster's HOST:PORT, or auto. Default: start a cluster on this machine for this run."""
    num_gpus: float | None = None
    """With --engine ray: GPUs of each process that embeds; 0 for none. Default: 1 if the cluster has any."""
    image_column: str | None = None
    """With --engine ray: the column of a Parquet file that holds the images. Default: the only one."""


def main() -> int:
    """Run the command.

    Returns:
        The exit code.
    """
    from .images.reading import join_range

    arguments = cli.parse(Arguments, "index", join_range(sys.argv[1:]), examples=EXAMPLES)
    # imported here, so that --help is fast
    from .core.known_collections import path_of
    from .core.paths import default_collection

    folder = default_collection() if arguments.collection is None else path_of(arguments.collection)
    _check_watching(arguments)
    if arguments.engine == "ray":
        return _on_cluster(arguments, folder)
    _check_local(arguments)
    if arguments.moved is not None:
        return _move(arguments, folder)
    if arguments.remove:
        return _remove(arguments, folder)
    if arguments.verify or arguments.rebuild_index:
        return _maintain(arguments, folder)
    if arguments.dry_run:
        return _preview(arguments, folder)
    if arguments.watch:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # services are stopped with SIGTERM
    update = _update(arguments, folder)
    print(f"{update.images} images in {printable(folder)} ({', '.join(_facts(update))})", flush=True)
    if not update.finished:
        cli.remark("stopped early; run the same command to continue")
        return cli.CTRL_C
    return _watch(arguments, folder, update) if arguments.watch else cli.DONE


def _remark_encoder(encoder: "Encoder", device: str | None) -> None:
    from .encoder.device_remark import remark_device
    from .encoder.previous_encoder import advice

    remark_device(encoder, device)
    line = advice(encoder.identity)
    if line is not None:
        cli.remark(line)


def _check_watching(arguments: Arguments) -> None:
    if arguments.poll is not None and not (arguments.watch and 0 < arguments.poll < 1e6):
        raise UserError("--poll needs --watch, and a number of seconds, such as 60")
    others = (arguments.remove, arguments.verify, arguments.rebuild_index, arguments.dry_run, arguments.prune)
    if arguments.watch and any(others):
        raise UserError(
            "--watch cannot be combined with --dry-run, --prune, --remove, --verify or --rebuild-index; run those first"
        )


def _check_local(arguments: Arguments) -> None:
    if arguments.address is not None or arguments.num_gpus is not None or arguments.image_column is not None:
        raise UserError("--address, --num-gpus and --image-column need --engine ray")
    for folder in arguments.folders:
        if "://" in folder:
            raise UserError(f"{folder}: a URL; only --engine ray reads URLs")


def _on_cluster(arguments: Arguments, folder: Path) -> int:
    others = (arguments.remove, arguments.verify, arguments.rebuild_index, arguments.dry_run, arguments.watch)
    if any(others) or arguments.include or arguments.exclude or arguments.pages or arguments.range or arguments.bands:
        raise UserError(
            "--engine ray cannot be combined with --include, --exclude, --dry-run, --remove, --verify, --rebuild-index,"
            " --watch, --range, --bands or --pages"
        )
    if arguments.num_gpus is not None and not 0 <= arguments.num_gpus < 1e6:
        raise UserError(f"--num-gpus {arguments.num_gpus:g}: give 0 or more")
    from .core.known_collections import remember
    from .core.progress import bar
    from .distributed.index_on_cluster import Hooks, Options, index_on_cluster

    options = Options(
        address=arguments.address,
        workers=arguments.workers,
        device=arguments.device or "auto",
        num_gpus=arguments.num_gpus,
        image_column=arguments.image_column,
        prune=arguments.prune,
    )
    try:
        with bar("indexing", 0) as shown:
            hooks = Hooks(
                on_wait=cli.remark if arguments.wait else None,
                on_start=shown.of,
                on_progress=shown.at_with_rate,
                on_stage=lambda stage, done, total: shown.note(f"{stage} {done}/{total}"),
                on_remark=cli.remark,
            )
            update = index_on_cluster(
                arguments.folders,
                folder,
                arguments.encoder,
                options,
                index=arguments.index,
                recall=arguments.recall,
                hooks=hooks,
            )
    except KeyboardInterrupt:
        cli.remark("stopped early; finished shards are kept; run the same command to continue")
        return cli.CTRL_C
    remember(folder)
    _remark_failures(update.failed)
    _remark_held(update.held)
    _remark_measured(folder, update.rebuilt)
    print(f"{update.images} images in {printable(folder)} ({', '.join(_facts(update))})")
    return cli.DONE


def _update(arguments: Arguments, folder: Path) -> "Update":
    from .collection.update.index_folders import index_folders
    from .core.progress import bar

    with bar("indexing", 0) as shown:
        update = index_folders(
            [Path(root) for root in arguments.folders],
            folder,
            arguments.encoder,
            include=arguments.include,
            exclude=arguments.exclude,
            prune=arguments.prune,
            reread=arguments.reread,
            follow_links=_links(arguments),
            index=arguments.index,
            recall=arguments.recall,
            value_range=arguments.range,
            bands=arguments.bands,
            pages=arguments.pages,
            on_wait=cli.remark if arguments.wait or arguments.watch else None,
            workers=arguments.workers,
            device=arguments.device or "auto",
            on_device=lambda encoder: _remark_encoder(encoder, arguments.device),
            on_start=shown.of,
            on_progress=shown.advance,
        )
    _remember(folder)
    _remark_files(arguments)
    _remark_failures(update.failed)
    _remark_held(update.held)
    _remark_passed_over(update)
    _remark_measured(folder, update.rebuilt)
    return update


def _remember(folder: Path) -> None:
    """Make this collection the one that is searched; say so where another one was."""
    from .core.known_collections import known_collections, last_collection, remember

    last, before = last_collection(), known_collections()
    remember(folder)
    if last == folder:
        return
    for one in before:
        if one.path == last and one.present:
            cli.remark(
                f"search and app use {printable(folder)} now; to go back: "
                f"python -m simsiam_retrieval.collections use {printable(one.name)}"
            )


def _links(arguments: Arguments) -> bool | None:
    """Whether to follow links to folders; None is as before."""
    if arguments.follow_links and arguments.ignore_links:
        raise UserError("--follow-links or --ignore-links: choose one")
    return True if arguments.follow_links else False if arguments.ignore_links else None


def _remark_files(arguments: Arguments) -> None:
    """Files in the place of folders, as a shell makes of ``photos/*.jpg``: new pictures beside them are never seen."""
    files = [Path(root) for root in arguments.folders if Path(root).is_file()]
    if len(files) > 1:
        cli.remark(
            f"{printable(files[0])} and {len(files) - 1} more are files: updates do not find new pictures beside them; "
            f"name the folder instead: python -m simsiam_retrieval.index {printable(files[0].parent)}"
        )


def _remark_passed_over(update: "Update") -> None:
    if update.system_folders:
        count, named = sum(update.system_folders.values()), _named(update.system_folders)
        folders = "1 trash or system folder" if count == 1 else f"{count} trash and system folders"
        cli.remark(f"passed over {folders} ({named}); name {'it' if count == 1 else 'one'} to index it")
    if update.linked_folders:
        count = update.linked_folders
        links = "1 link to a folder" if count == 1 else f"{count} links to folders"
        cli.remark(f"passed over {links}; --follow-links follows {'it' if count == 1 else 'them'}")
    if update.pages_left_out:
        files = f"{update.paged_files} file{'' if update.paged_files == 1 else 's'}"
        cli.remark(f"{update.pages_left_out} further pages or frames of {files} left out; --pages all takes them")
    unread = {kind: count for kind, count in update.kinds.items() if kind in UNREAD}
    if unread:
        cli.remark(f"pictures and clips of kinds that are not read: {_named(unread)}")


def _named(counts: dict[str, int]) -> str:
    """What there is of each, the most frequent first: "12 .cr2, 3 .mov"."""
    shown = [f"{count} {printable(what) or 'without a suffix'}" for what, count in list(counts.items())[:SHOWN_KINDS]]
    return ", ".join(shown) + (", ..." if len(counts) > SHOWN_KINDS else "")


def _facts(update: "Update") -> list[str]:
    facts = [
        f"{update.added - update.moved} new",
        f"{update.changed} changed",
        f"{update.removed - update.moved} gone",
    ]
    if update.moved:
        facts.append(f"{update.moved} moved")
    if update.failed:
        facts.append(f"{len(update.failed)} unusable")
    if update.left_out:
        facts.append(f"{update.left_out} left out by patterns")
    if update.companions:
        facts.append(f"{update.companions} sidecars, clips and raw files of pictures")
    others = update.other_files - update.companions
    if others:
        kinds = f": {_named(update.kinds)}" if update.kinds else ""
        facts.append(f"{others} other files passed over{kinds}")
    return facts


def _watch(arguments: Arguments, folder: Path, last: "Update") -> int:
    """Update after every change until Ctrl-C; a line for each update that changed something."""
    from datetime import datetime

    from .collection import Collection
    from .collection.update.watching import watch_roots
    from .core.paths import absolute

    with Collection.open(folder) as collection:
        roots = [absolute(root) for root in arguments.folders] or collection.roots
        updates = watch_roots(
            collection,
            roots,
            poll=arguments.poll,
            workers=arguments.workers,
            on_wait=cli.remark,
            on_remark=cli.remark,
        )
        cli.remark(f"watching {', '.join(map(printable, roots))}; Ctrl-C ends it")
        try:
            for update in updates:
                _remark_failures([failure for failure in update.failed if failure not in last.failed])
                _remark_held([held for held in update.held if held not in last.held])
                if update.added or update.changed or update.removed or len(update.failed) != len(last.failed):
                    now = datetime.now().isoformat(" ", "seconds")
                    print(f"{now}  {update.images} images ({', '.join(_facts(update))})", flush=True)
                if not update.finished:
                    cli.remark("stopped early; run the same command to continue")
                    return cli.CTRL_C
                last = update
        except KeyboardInterrupt:
            pass  # between two updates everything is finished
    return cli.DONE


def _move(arguments: Arguments, folder: Path) -> int:
    others = (arguments.folders, arguments.include, arguments.exclude, arguments.prune, arguments.dry_run)
    if any(others) or arguments.remove or arguments.verify or arguments.rebuild_index or arguments.watch:
        raise UserError("--moved goes with --collection, --wait and --workers only; update folders in a second run")
    from .collection import Collection
    from .core.paths import absolute

    assert arguments.moved is not None
    old, new = map(absolute, arguments.moved)
    with Collection.open(folder) as collection:
        images = collection.move(old, new, on_wait=cli.remark if arguments.wait else None)
        roots = [root for root in collection.roots if new in (root, *root.parents)]
        above = [root for root in collection.roots if root in new.parents]
        update = collection.update(roots or above or None, on_wait=cli.remark if arguments.wait else None)
    print(f"{images} images moved from {printable(old)} to {printable(new)} ({', '.join(_facts(update))})")
    return cli.DONE


def _remove(arguments: Arguments, folder: Path) -> int:
    others = (arguments.folders, arguments.include, arguments.exclude, arguments.prune, arguments.dry_run)
    if any(others) or arguments.index is not None or arguments.recall is not None:
        raise UserError("--remove goes with --collection and --wait only; update the other folders in a second run")
    if "" in arguments.remove:  # probably an unset shell variable; as a path it would mean the current folder
        raise UserError("--remove '': name a path")
    from .collection import Collection
    from .core.paths import absolute

    with Collection.open(folder) as collection:
        update = collection.remove(arguments.remove, on_wait=cli.remark if arguments.wait else None)
        for root in collection.roots:
            if any(root in path.parents for path in map(absolute, arguments.remove)):
                cli.remark(f"still below {printable(root)}: its next update finds them again without --exclude")
                break
    print(f"{update.images} images in {printable(folder)} ({update.removed} removed)")
    return cli.DONE


def _maintain(arguments: Arguments, folder: Path) -> int:
    option = "--verify" if arguments.verify else "--rebuild-index"
    others = (arguments.folders, arguments.include, arguments.exclude, arguments.prune, arguments.dry_run)
    chosen = arguments.index is not None or arguments.recall is not None
    if any(others) or (arguments.verify and (arguments.rebuild_index or chosen)):
        allowed = "--collection and --wait" if arguments.verify else "--collection, --wait, --index and --recall"
        raise UserError(f"{option} goes with {allowed} only; do the rest in a second run")
    from .collection import Collection
    from .collection.storage.shard_manifest import is_sharded

    if arguments.rebuild_index and is_sharded(folder):
        return _build_sharded(arguments, folder)
    on_wait = cli.remark if arguments.wait else None
    mended = []
    try:
        collection = Collection.open(folder)
    except UserError:
        if not arguments.verify or not Collection.exists(folder):
            raise
        mended = Collection.mend(folder, on_wait=on_wait)  # repairs what prevents opening it
        collection = Collection.open(folder)
    with collection:
        if arguments.rebuild_index:
            collection.rebuild_index(arguments.index, recall=arguments.recall, on_wait=on_wait)
            _remark_measured(folder, True)
            print(f"built the index of {len(collection)} images in {printable(folder)} again")
            return cli.DONE
        found = mended + collection.verify(on_wait=on_wait)
        for finding in found:
            print(f"{printable(finding.subject)}: {finding.problem}; {finding.repair}")
        images = len(collection)
    print(f"{images} images in {printable(folder)}: {f'{len(found)} repairs' if found else 'all in order'}")
    return cli.DONE


def _build_sharded(arguments: Arguments, folder: Path) -> int:
    from .collection.index.build_shard_index import build
    from .collection.index.shard_workers import pooled
    from .core.known_collections import remember
    from .core.progress import bar

    with bar("building", 0) as shown, pooled(arguments.workers) as run:

        def on_progress(stage: str, done: int, total: int) -> None:
            shown.of(total)
            shown.at(done)
            shown.note(stage)

        built = build(
            folder,
            run=run,
            kind=arguments.index,
            recall=arguments.recall,
            on_wait=cli.remark if arguments.wait else None,
            on_progress=on_progress,
        )
    remember(folder)
    _remark_measured(folder, built.changed)
    facts = [f"{built.new_shards} shards new, {built.gone_shards} gone, {built.shards} in all"]
    if built.unusable:
        facts.append(f"{built.unusable} unusable")
    done = "built the index of" if built.changed else "nothing to do:"
    print(f"{done} {built.images} images in {printable(folder)} ({', '.join(facts)})")
    return cli.DONE


def _preview(arguments: Arguments, folder: Path) -> int:
    from .collection.update.index_folders import preview_folders

    preview = preview_folders(
        [Path(root) for root in arguments.folders],
        folder,
        arguments.encoder,
        include=arguments.include,
        exclude=arguments.exclude,
        prune=arguments.prune,
        reread=arguments.reread,
        follow_links=_links(arguments),
    )
    _remark_failures(preview.unusable)
    _remark_held(preview.held)
    for what, paths in (("new", preview.new), ("changed", preview.changed), ("gone", preview.gone)):
        for path in paths:
            print(f"{what:8} {printable(path)}")
    for old, new in preview.moved:
        print(f"{'moved':8} {printable(old)} -> {printable(new)}")
    facts = [f"{len(preview.new)} new", f"{len(preview.changed)} changed", f"{len(preview.gone)} gone"]
    facts.append(f"{len(preview.moved)} moved")
    if preview.left_out:
        facts.append(f"{preview.left_out} left out by patterns")
    print(f"nothing was done; an update of {printable(folder)} would find {', '.join(facts)}")
    return cli.DONE


def _remark_failures(failed: list[tuple[Path, str]]) -> None:
    """Files of a kind whose extra is missing are summed up, the others named."""
    lacking = Counter(reason for _, reason in failed if EXTRA in reason)
    for reason, count in lacking.most_common():
        kind, install = reason.removeprefix("a ").split(": ", 1)
        if count > 1:  # "12 DICOM files", "3 TIFFs compressed as JPEG2000"
            kind = kind.replace("file", "files", 1) if "file" in kind else kind.replace("TIFF", "TIFFs", 1)
        cli.remark(f"left out: {count} {kind}: {install}")
    failed = [(path, reason) for path, reason in failed if EXTRA not in reason]
    kinds = Counter(without_detail(reason) for _, reason in failed[SHOWN_FAILURES:])
    summed = {kind for kind, count in kinds.items() if count > 1}
    for number, (path, reason) in enumerate(failed):
        if number < SHOWN_FAILURES or without_detail(reason) not in summed:
            cli.remark(f"left out: {printable(path)}: {printable(reason)}")
    for kind, count in kinds.most_common(SHOWN_FAILURES):
        if kind in summed:
            cli.remark(f"left out: {count} more: {printable(kind)}")


def _remark_measured(folder: Path, rebuilt: bool) -> None:
    """What an approximate index gives."""
    from .collection import Collection

    if not rebuilt:
        return
    with Collection.open(folder) as collection:
        found = collection.measured
    if found is None:
        return
    settings = "".join(f", {name} {value}" for name, value in found.settings.items())
    exact = "" if found.exact_milliseconds is None else f", exact search {found.exact_milliseconds:.1f} ms"
    cli.remark(
        f"index: {found.kind}{settings}: recall@10 {found.recall:.3f} of {found.asked:g} asked, "
        f"{found.milliseconds:.1f} ms a query{exact}"
    )
    if found.falls_short:
        cli.remark("this index cannot reach that recall; use --index flat, which is exact, or a lower --recall")


def _remark_held(held: list[tuple[Path, int]]) -> None:
    for place, count in held:
        cli.remark(
            f"{printable(place)}: missing, not mounted, or without most of its images now; {count} images are kept; "
            "mount or restore it, or forget them with --prune"
        )


if __name__ == "__main__":
    cli.run(main)
