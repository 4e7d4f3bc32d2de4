"""Copying a collection to a target, one tile at a time."""

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass

from ..collection.collection import Collection
from ..collection.creation import ENCODER_FILE
from ..core.errors import UserError
from ..core.paths import absolute
from .ownership_mark import Mark
from .rows import tiles
from .target import Change, Target
from .target_location import is_address, without_file

PASSES = 5  # most passes over a collection that changes during the copy

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,199}")


@dataclass
class Handed:
    """The result of copying a collection.

    Attributes:
        change: Rows written, kept and removed.
        images: Images in the target afterwards.
        where: The target, for messages.
        query: Lines of Python that search it.
        unsettled: Whether the collection was still changing at the end.
    """

    change: Change
    images: int
    where: str
    query: list[str]
    unsettled: bool


def hand_over(
    collection: Collection,
    kind: str,
    place: str,
    *,
    name: str = "images",
    replace: bool = False,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Handed:
    """Bring a target up to date with a collection: ids, unit vectors, metadata, and the identity of the encoder.

    Rows that have not changed are not written again. So a killed run continues where it stopped, and a later run writes
    only what is new. Rows of images that are gone are removed. Needs memory for one tile of images (10,000; 50,000 for
    Parquet).

    Args:
        collection: The collection.
        kind: "parquet", "lance", "qdrant" or "milvus".
        place: A path, or the address of a server.
        name: Name of the table.
        replace: Whether to overwrite a table that contains something else.
        on_progress: Called with the number of further images that are done.

    Returns:
        What was done.

    Raises:
        UserError: A library is not installed, the place cannot be reached or written, or the table is of another
            collection, encoder or program.
    """
    if not _NAME.fullmatch(name):
        raise UserError(f"--name {name}: letters, digits, _ and - only, and a letter first")
    place = without_file(place)
    if not place:
        raise UserError("'': name a place to copy the collection to")
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
            if passed:  # unchanged rows were counted in the first pass
                change.kept = 0
            else:
                on_progress(len(tile.rows))
            total.add(change)
        with target.explained():
            total.add(target.finish(last))
        if collection.generation == generation:
            break  # otherwise an update changed the collection: another pass for its changes
    query = [line for line in target.how_to_query(collection.folder / ENCODER_FILE) if line]
    return Handed(total, images, target.where, query, collection.generation != generation)


def _open(kind: str, place: str, name: str, mark: Mark, replace: bool) -> Target:
    # each library is imported only if it is needed
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
