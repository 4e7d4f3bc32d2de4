"""Handing over: from a collection to a target, a tile at a time."""

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass

from ..collection.collection import ENCODER_FILE, Collection
from ..core.errors import UserError
from ..core.paths import absolute
from .ownership_mark import Mark
from .rows import tiles
from .target import Change, Target
from .target_location import is_address, without_file

PASSES = 5  # over a collection that changes meanwhile

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,199}")


@dataclass
class Handed:
    """What handing over did."""

    change: Change
    images: int  # in the target, afterwards
    where: str
    query: list[str]  # lines of Python that search it
    unsettled: bool  # whether the collection went on changing


def hand_over(
    collection: Collection,
    kind: str,
    place: str,
    *,
    name: str = "images",
    replace: bool = False,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Handed:
    """Bring a target up to date with ``collection``: ids, unit vectors, metadata, and which encoder made them.

    ``kind``: parquet, lance, qdrant or milvus. ``place``: a path, or the address of a cluster. ``name``: of the
    table. Rows that are there and have not changed are left alone, so that a run that was killed goes on, and a later
    one writes only what is new; rows of images that are gone are removed. ``replace``: overwrite a table of
    something else. ``on_progress`` is told how many more images are done.

    Memory: one tile of images (10,000; 50,000 for Parquet). Raises :class:`UserError` for a library that is not
    installed, a place that cannot be reached or written, and a table of another collection, encoder or origin.
    """
    if not _NAME.fullmatch(name):
        raise UserError(f"--name {name}: letters, digits, _ and - only, and a letter first")
    place = without_file(place)
    if not place:
        raise UserError("'': name a place to hand the collection over to")
    if not is_address(place):
        inside = absolute(place)
        if inside == collection.folder or collection.folder in inside.parents:
            raise UserError(f"{inside}: belongs to the collection itself; choose another place")
    mark = Mark(collection.encoder_identity, collection.dim, collection.own_name())
    with contextlib.closing(_open(kind, place, name, mark, replace)) as target:
        return _hand_over(collection, target, on_progress)


def _hand_over(collection: Collection, target: Target, on_progress: Callable[[int], None]) -> Handed:
    total, generation, images = Change(), -1, 0
    for passed in range(PASSES):
        generation, last, images = collection.generation, 0, 0
        for tile in tiles(collection, target.span):
            with target.explained():
                change = target.write(tile)
            last = tile.last
            images += len(tile.rows)
            if passed:  # those that are as they were have been counted
                change.kept = 0
            else:
                on_progress(len(tile.rows))
            total.add(change)
        with target.explained():
            total.add(target.finish(last))
        if collection.generation == generation:
            break  # else an update came between: once more, for what it changed
    query = [line for line in target.how_to_query(collection.folder / ENCODER_FILE) if line]
    return Handed(total, images, target.where, query, collection.generation != generation)


def _open(kind: str, place: str, name: str, mark: Mark, replace: bool) -> Target:
    # each library is imported where it is asked for
    if kind == "parquet":
        from .parquet import open_parquet

        return open_parquet(place, mark, replace=replace)
    if kind == "lance":
        from .lance import open_lance

        return open_lance(place, name, mark, replace=replace)
    if kind == "qdrant":
        from .qdrant import open_qdrant

        return open_qdrant(place, name, mark, replace=replace)
    if kind == "milvus":
        from .milvus import open_milvus

        return open_milvus(place, name, mark, replace=replace)
    raise UserError(f"--to {kind}: choose parquet, lance, qdrant or milvus")
