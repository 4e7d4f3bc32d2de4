"""``python -m simsiam_retrieval.status``."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from .core import cli
from .core.errors import UserError
from .core.text import printable

if TYPE_CHECKING:
    from .collection.status import Status

SHOWN_REASONS = 10
EXAMPLES = """examples:
  status                  of the collection used last
  status holidays         of another one; the command collections lists them"""


@dataclass(frozen=True)
class Arguments:
    """Show what a collection holds: images, unusable files, folders, encoder, sizes on disk."""

    place: tyro.conf.Positional[
        Annotated[Path | None, tyro.conf.arg(metavar="[COLLECTION]", help_behavior_hint="")]
    ] = None
    """Name or folder of the collection. Default: the one used last."""
    collection: Path | None = None
    """The same, as an option."""
    json: bool = False
    """Print JSON, with every unusable file."""


def main() -> None:
    """Run the command.

    Raises:
        UserError: An option or an input cannot work.
    """
    arguments = cli.parse(Arguments, "status", examples=EXAMPLES)
    if arguments.place is not None and arguments.collection is not None:
        raise UserError("name one collection, with --collection or without")
    # imported here, so that --help is fast
    from .collection.status import read_status
    from .core.known_collections import find_collection

    status = read_status(find_collection(arguments.place or arguments.collection))
    if arguments.json:
        print(json.dumps(_as_dict(status), indent=2))
    else:
        _print_table(status)


def _as_dict(status: "Status") -> dict:
    return {
        "collection": str(status.folder),
        "images": status.images,
        "unusable": [{"path": str(path), "reason": reason} for path, reason in status.failures],
        "waiting": status.waiting,
        "roots": [
            {"path": str(root.path), "images": root.images, "present": root.present, **asdict(root.patterns)}
            for root in status.roots
        ],
        "encoder": status.encoder,
        "encoder_source": status.encoder_source,
        "features": status.features,
        "dim": status.dim,
        "generation": status.generation,
        "schema": status.schema,
        "index": status.index,
        "index_asked": status.chosen,
        "measured": status.measured and status.measured.as_dict(),
        "noise_level": status.noise_level,
        "bytes": status.sizes,
        "shards": status.shards,
        "reading": status.reading,
        "regions": status.regions and asdict(status.regions),
    }


def _print_table(status: "Status") -> None:
    from .encoder.previous_encoder import advice

    def line(name: str, value: object) -> None:
        print(f"{name:11} {value}")

    line("collection", printable(status.folder))
    line("images", status.images)
    if status.shards is not None:
        line("", f"in {status.shards} shard{'' if status.shards == 1 else 's'}")
    line("unusable", len(status.failures))
    for reason, count in status.reasons[:SHOWN_REASONS]:
        line("", f"{count} x {printable(reason)}")
    if status.waiting:
        again = "index" if status.shards is None else "index --rebuild-index"
        line("waiting", f"{status.waiting} files of an update that was interrupted; run {again} to go on")
    for number, root in enumerate(status.roots):
        facts = [f"{root.images} images"]
        facts += [f"--include {printable(pattern)}" for pattern in root.patterns.include]
        facts += [f"--exclude {printable(pattern)}" for pattern in root.patterns.exclude]
        if not root.present:
            facts.append("missing now")
        line("" if number else "folders", f"{printable(root.path)} ({', '.join(facts)})")
    line("encoder", f"{status.encoder}, {status.dim} values a vector")
    if (old := advice(status.encoder)) is not None:
        line("", old)
    if status.encoder_source is not None:
        line("", printable(status.encoder_source))
    if status.features is not None:
        line("features", status.features)
    if status.reading:
        line("read with", ", ".join(f"--{name} {value}" for name, value in status.reading.items()))
    line("index", f"{status.index} (asked: {status.chosen}), generation {status.generation}")
    if status.measured is not None:
        found = status.measured
        exact = "" if found.exact_milliseconds is None else f", exact {found.exact_milliseconds:.1f}"
        line("", f"recall@10 {found.recall:.3f}, {found.milliseconds:.1f} ms a query{exact}")
    if (regions := status.regions) is not None:
        line("regions", f"{regions.regions} of {regions.images} images; index {regions.index}")
        if (found := regions.measured) is not None:
            line("", f"recall@10 {found.recall:.3f}, {found.milliseconds:.1f} ms a query")
    if status.noise_level is not None:
        line("noise level", f"{status.noise_level:.3f} for a typical query, exceeded by one random pair in a thousand")
    line("on disk", ", ".join(f"{name} {_size(size)}" for name, size in status.sizes.items()))


def _size(size: int | None) -> str:
    from rich.filesize import decimal

    return "missing" if size is None else decimal(size)


if __name__ == "__main__":
    cli.run(main)
