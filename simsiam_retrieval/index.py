"""``python -m simsiam_retrieval.index FOLDER``."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import tyro

from . import cli
from .text import printable

SHOWN_FAILURES = 10


@dataclass(frozen=True)
class Arguments:
    """Index folders of images, or bring their index up to date.

    Only new and changed files are read; files that are gone are forgotten. Broken files are listed, never fatal.
    """

    folders: tyro.conf.Positional[tuple[Path, ...]]
    """Folders (or files) to index."""
    collection: Path | None = None
    """Collection folder; by default one in your data directory."""
    encoder: str | None = None
    """Run folder or .onnx file; by default the encoder shipped with the package."""
    workers: int | None = None
    """Worker processes; by default one per core."""


def main() -> int:
    arguments = cli.parse(Arguments, "index")
    # imported here so that --help answers at once
    from .collection.indexing import index_folders
    from .home import default_collection, remember
    from .images.files import absolute
    from .progress import bar

    folder = absolute(arguments.collection or default_collection())
    with bar("indexing", 0) as shown:
        update = index_folders(
            arguments.folders,
            folder,
            arguments.encoder,
            workers=arguments.workers,
            on_start=shown.of,
            on_progress=shown.advance,
        )
    remember(folder)
    for path, reason in update.failed[:SHOWN_FAILURES]:
        cli.remark(f"left out: {printable(path)}: {reason}")
    if len(update.failed) > SHOWN_FAILURES:
        kinds = Counter(reason for _, reason in update.failed[SHOWN_FAILURES:])
        for reason, count in kinds.most_common(SHOWN_FAILURES):
            cli.remark(f"left out: {count} more: {reason}")
    facts = [f"{update.added} new", f"{update.changed} changed", f"{update.removed} gone"]
    if update.failed:
        facts.append(f"{len(update.failed)} unusable")
    if update.other_files:
        facts.append(f"{update.other_files} other files passed over")
    if not update.finished:
        cli.remark("stopped early; run it again to go on")
    print(f"{update.images} images in {printable(folder)} ({', '.join(facts)})")
    return cli.DONE if update.finished else cli.CTRL_C


if __name__ == "__main__":
    cli.run(main)
