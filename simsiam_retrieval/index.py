"""``python -m simsiam_retrieval.index FOLDER``."""

import dataclasses
import signal
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .collection.update import report_lines as lines
from .collection.update.actions import Actions, check_together
from .collection.update.update_options import Hooks
from .core import cli
from .core.errors import UserError
from .core.text import printable
from .distributed.cluster_options import Options

if TYPE_CHECKING:
    from .collection.update.results import Update

EXAMPLES = """examples:
  index ./photos                           make or update the default collection
  index                                    update all its folders
  index ./photos --exclude private         without folders and files of this name
  index ./dem --range 0 2500               one grey scale for all elevations
  index --moved ./photos /mnt/photos       the folder is elsewhere now"""


@dataclass(frozen=True)
class Arguments(Options, Actions):
    """Index folders of images, or bring their index up to date.

    Only new and changed files are read, and files that are gone are forgotten. Broken files are listed.
    """

    collection: Path | None = None
    """Name or folder of the collection. Default: one in your data directory."""
    engine: Literal["local", "ray"] = "local"
    """local, or ray: embed on a Ray cluster into a sharded collection, which may be larger than memory."""


def main() -> int:
    """Run the command.

    Returns:
        The exit code.
    """
    from .images.reading import join_range

    arguments = cli.parse(Arguments, "index", join_range(sys.argv[1:]), examples=EXAMPLES)
    _check_engine(arguments)
    check_together(arguments, arguments)
    # imported here, so that --help is fast
    from .core.known_collections import path_of
    from .core.paths import default_collection

    folder = default_collection() if arguments.collection is None else path_of(arguments.collection)
    if arguments.engine == "ray":
        return _on_cluster(arguments, folder)
    if arguments.moved is not None:
        return _move(arguments, folder)
    if arguments.remove:
        return _remove(arguments, folder)
    if arguments.verify:
        return _verify(arguments, folder)
    if arguments.rebuild_index:
        return _rebuild(arguments, folder)
    arguments = dataclasses.replace(arguments, follow_links=arguments.links, regions=arguments.region_choice)
    if arguments.dry_run:
        return _preview(arguments, folder)
    if arguments.watch:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # services are stopped with SIGTERM
    update = _update(arguments, folder)
    print(f"{update.images} images in {printable(folder)} ({lines.facts(update)})", flush=True)
    if not update.finished:
        cli.remark("stopped early; run the same command to continue")
        return cli.CTRL_C
    return _watch(arguments, folder, update) if arguments.watch else cli.DONE


def _check_engine(arguments: Arguments) -> None:
    if arguments.engine == "ray":
        alone = (arguments.remove, arguments.verify, arguments.rebuild_index, arguments.dry_run, arguments.watch)
        pixels = (arguments.pages, arguments.value_range, arguments.bands)
        if arguments.with_regions or arguments.drop_regions:
            raise UserError("--engine ray makes a sharded collection, which has no regions; leave out --regions")
        if any(alone) or any(pixels) or arguments.patterns:
            raise UserError(
                "--engine ray cannot be combined with --include, --exclude, --dry-run, --remove, --verify, "
                "--rebuild-index, --watch, --range, --bands or --pages"
            )
        if arguments.num_gpus is not None and not 0 <= arguments.num_gpus < 1e6:
            raise UserError(f"--num-gpus {arguments.num_gpus:g}: give 0 or more")
        return
    if arguments.address is not None or arguments.num_gpus is not None or arguments.image_column is not None:
        raise UserError("--address, --num-gpus and --image-column need --engine ray")
    for folder in arguments.folders:
        if "://" in folder:
            raise UserError(f"{folder}: a URL; only --engine ray reads URLs")


# -- updates


def _update(arguments: Arguments, folder: Path) -> "Update":
    from .collection.update.index_folders import index_with
    from .core.progress import bar
    from .encoder.device_remark import remark_encoder

    with bar("indexing", 0) as shown:
        hooks = Hooks(
            on_wait=cli.remark if arguments.wait or arguments.watch else None,
            on_start=shown.of,
            on_progress=shown.advance,
            on_device=lambda encoder: remark_encoder(encoder, arguments.device),
        )
        update = index_with(arguments, hooks, _roots(arguments), folder)
    cli.remember_collection(folder)
    _remark(lines.file_roots_lines(_roots(arguments)), lines.failure_lines(update.failed))
    _remark(lines.held_lines(update.held), lines.damaged_lines(update), lines.passed_over_lines(update))
    _remark_measured(folder, update.rebuilt)
    return update


def _preview(arguments: Arguments, folder: Path) -> int:
    from .collection.update.index_folders import preview_folders

    preview = preview_folders(arguments, _roots(arguments), folder)
    _remark(lines.failure_lines(preview.unusable), lines.held_lines(preview.held))
    for line in lines.preview_lines(preview):
        print(line)
    print(f"nothing was done; an update of {printable(folder)} would find {lines.preview_facts(preview)}")
    return cli.DONE


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
                failed = [failure for failure in update.failed if failure not in last.failed]
                held = [held for held in update.held if held not in last.held]
                _remark(lines.failure_lines(failed), lines.held_lines(held), lines.damaged_lines(update))
                if update.added or update.changed or update.removed or len(update.failed) != len(last.failed):
                    now = datetime.now().isoformat(" ", "seconds")
                    print(f"{now}  {update.images} images ({lines.facts(update)})", flush=True)
                if not update.finished:
                    cli.remark("stopped early; run the same command to continue")
                    return cli.CTRL_C
                last = update
        except KeyboardInterrupt:
            pass  # between two updates everything is finished
    return cli.DONE


def _on_cluster(arguments: Arguments, folder: Path) -> int:
    from .core.known_collections import remember
    from .core.progress import bar
    from .distributed.index_on_cluster import index_on_cluster

    try:
        with bar("indexing", 0) as shown:
            hooks = Hooks(
                on_wait=_on_wait(arguments),
                on_start=shown.of,
                on_progress=shown.at_with_rate,
                on_stage=lambda stage, done, total: shown.note(f"{stage} {done}/{total}"),
                on_remark=cli.remark,
            )
            update = index_on_cluster(arguments.folders, folder, arguments, hooks)
    except KeyboardInterrupt:
        cli.remark("stopped early; finished shards are kept; run the same command to continue")
        return cli.CTRL_C
    remember(folder)
    _remark(lines.failure_lines(update.failed), lines.held_lines(update.held))
    _remark_measured(folder, update.rebuilt)
    print(f"{update.images} images in {printable(folder)} ({lines.facts(update)})")
    return cli.DONE


# -- other changes


def _move(arguments: Arguments, folder: Path) -> int:
    from .collection.update.index_folders import move_folder
    from .core.paths import absolute

    assert arguments.moved is not None
    old, new = map(absolute, arguments.moved)
    images, update = move_folder(folder, old, new, on_wait=_on_wait(arguments), workers=arguments.workers)
    print(f"{images} images moved from {printable(old)} to {printable(new)} ({lines.facts(update)})")
    return cli.DONE


def _remove(arguments: Arguments, folder: Path) -> int:
    from .collection import Collection
    from .core.paths import absolute

    with Collection.open(folder) as collection:
        update = collection.remove(arguments.remove, on_wait=_on_wait(arguments))
        for root in collection.roots:
            if any(root in path.parents for path in map(absolute, arguments.remove)):
                cli.remark(f"still below {printable(root)}: its next update finds them again without --exclude")
                break
    print(f"{update.images} images in {printable(folder)} ({update.removed} removed)")
    return cli.DONE


def _verify(arguments: Arguments, folder: Path) -> int:
    from .collection.update.index_folders import verify_folder

    found, images = verify_folder(folder, on_wait=_on_wait(arguments))
    for finding in found:
        print(f"{printable(finding.subject)}: {finding.problem}; {finding.repair}")
    print(f"{images} images in {printable(folder)}: {f'{len(found)} repairs' if found else 'all in order'}")
    return cli.DONE


def _rebuild(arguments: Arguments, folder: Path) -> int:
    from .collection import Collection
    from .collection.storage.shard_manifest import is_sharded

    if is_sharded(folder):
        return _build_sharded(arguments, folder)
    with Collection.open(folder) as collection:
        collection.rebuild_index(arguments.index, recall=arguments.recall, on_wait=_on_wait(arguments))
        _remark_measured(folder, True)
        print(f"built the index of {len(collection)} images in {printable(folder)} again")
    return cli.DONE


def _build_sharded(arguments: Arguments, folder: Path) -> int:
    from .collection.index.build_shard_index import build
    from .collection.index.shard_workers import pooled
    from .core.known_collections import remember
    from .core.progress import bar

    with bar("building", 0) as shown, pooled(arguments.workers) as run:
        built = build(
            folder,
            run=run,
            kind=arguments.index,
            recall=arguments.recall,
            on_wait=_on_wait(arguments),
            on_progress=shown.stage,
        )
    remember(folder)
    _remark_measured(folder, built.changed)
    print(lines.built_line(built, folder))
    return cli.DONE


# -- what they share


def _roots(arguments: Arguments) -> list[Path]:
    return [Path(root) for root in arguments.folders]


def _on_wait(arguments: Arguments) -> Callable[[str], None] | None:
    return cli.remark if arguments.wait else None


def _remark(*parts: Iterable[str]) -> None:
    for line in chain(*parts):
        cli.remark(line)


def _remark_measured(folder: Path, rebuilt: bool) -> None:
    """What an approximate index gives, where it was built."""
    from .collection import Collection

    if not rebuilt:
        return
    with Collection.open(folder) as collection:
        found = collection.measured
    if found is not None:
        _remark(lines.measured_lines(found))


if __name__ == "__main__":
    cli.run(main)
