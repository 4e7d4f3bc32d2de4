"""``python -m simsiam_retrieval.collections``."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from .core import cli
from .core.errors import UserError
from .core.text import printable

if TYPE_CHECKING:
    from .core.known_collections import KnownCollection

EXAMPLES = """examples:
  collections                            all of them; * is the one that search, status and app take
  collections use holidays               search in this one from now on
  collections rename default holidays    its folder stays where it is
  collections remove holidays            its index and labels; no picture is touched"""


@dataclass(frozen=True)
class Arguments:
    """List the collections of this machine, or select, rename or remove one."""

    action: tyro.conf.Positional[Literal["list", "use", "rename", "remove"]] = "list"
    """What to do."""
    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """For use and remove: name or path of a collection. For rename: its name and the new one."""
    json: bool = False
    """For list: print JSON."""
    yes: bool = False
    """For remove: do not ask."""


def main() -> None:
    """Run the command.

    Raises:
        UserError: An option or an input cannot work.
    """
    arguments = cli.parse(Arguments, "collections", examples=EXAMPLES)
    wanted = {"list": 0, "use": 1, "rename": 2, "remove": 1}[arguments.action]
    if len(arguments.names) != wanted:
        form = {"list": "", "use": " NAME", "rename": " NAME NEW", "remove": " NAME"}[arguments.action]
        raise UserError(f"use: python -m simsiam_retrieval.collections {arguments.action}{form}")
    from .core.known_collections import find, remember, rename

    if arguments.action == "list":
        _list(as_json=arguments.json)
        return
    known = find(arguments.names[0])
    if arguments.action == "use":
        if not known.present:
            raise UserError(f"{known.path}: not there any more; collections remove {known.name} unlists it")
        remember(known.path)
        print(f"search, status, duplicates and app use {printable(known.name)} now ({printable(known.path)})")
    elif arguments.action == "rename":
        rename(known, arguments.names[1])
        print(f"{printable(known.path)} is called {printable(arguments.names[1])} now")
    else:
        _remove(known, ask=not arguments.yes)


def _list(*, as_json: bool) -> None:
    from .collection.summary import summarise
    from .core.known_collections import known_collections, last_collection

    last, known = last_collection(), known_collections()
    rows = [(one, summarise(one.path) if one.present else None) for one in known]
    if as_json:
        found = [
            {
                "name": one.name,
                "path": str(one.path),
                "last": one.path == last,
                "used": one.used and one.used.isoformat(),
                "images": summary and summary.images,
                "bytes": summary and summary.size,
                "encoder": summary and summary.encoder,
                "folders": summary and [str(root) for root in summary.roots],
            }
            for one, summary in rows
        ]
        print(json.dumps(found, indent=2))
        return
    if not rows:
        print("no collection yet; make one: python -m simsiam_retrieval.index FOLDER")
        return
    from rich.filesize import decimal

    width = max(len(printable(one.name)) for one in known)
    for one, summary in rows:
        mark = "*" if one.path == last else " "
        used = f"{one.used:%Y-%m-%d %H:%M}" if one.used else "-" * 10
        if summary is None:
            print(f"{mark} {printable(one.name):{width}}  gone  {printable(one.path)}")
            continue
        roots = ", ".join(printable(root) for root in summary.roots[:2]) + (" ..." if len(summary.roots) > 2 else "")
        size = decimal(summary.size)
        print(
            f"{mark} {printable(one.name):{width}}  {summary.images:>7} images  {size:>9}  encoder {summary.encoder}  "
            f"used {used}  {printable(one.path)}  <- {roots or 'nothing'}"
        )
    print("* search, status, duplicates and app take this one unless --collection names another")


def _remove(known: "KnownCollection", *, ask: bool) -> None:
    from .collection.creation import remove_collection
    from .collection.storage.shard_manifest import is_sharded
    from .collection.storage.writer_lock import writing
    from .collection.summary import summarise
    from .core.known_collections import forget

    if known.present:
        if is_sharded(known.path):
            raise UserError(f"{known.path}: a sharded collection; delete the folder itself, then remove it here")
        summary = summarise(known.path)
        lost = f"the index of {summary.images} images and {summary.labels} labels"
        if ask:
            if not sys.stdin.isatty():
                raise UserError(f"this deletes {lost} in {known.path}, no picture; add --yes")
            answer = input(f"Delete {lost} in {printable(known.path)}? No picture is touched. [y/N] ")
            if answer.strip().lower() not in ("y", "yes"):
                print("nothing was removed")
                return
        with writing(known.path):
            remove_collection(Path(known.path), keep_folder=False)
        print(f"removed {lost} in {printable(known.path)}; the pictures are where they were")
    else:
        print(f"{printable(known.path)} was gone already; it is no longer in the list")
    forget(known)


if __name__ == "__main__":
    cli.run(main)
