"""Forgetting images by their place, and moving them to another one; no file is opened."""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from ...core.errors import UserError
from ...core.paths import is_missing
from ..index.make_index import make_index
from ..index.vector_index import VectorIndex
from ..storage.catalog_file import explained
from ..storage.opening import open_to_update
from ..storage.writer_lock import writing
from .results import Update


def remove(
    folder: Path, dim: int, wanted: Sequence[Path], on_wait: Callable[[str], None] | None
) -> tuple[Update, VectorIndex | None]:
    """Forget images; see ``Collection.remove``.

    Args:
        folder: The collection's folder.
        dim: Values per vector.
        wanted: Absolute paths; everything at or below them is forgotten.
        on_wait: See ``Collection.update``.

    Returns:
        What was done, and the new index if one was made.

    Raises:
        UserError: As in ``Collection.remove``.
    """
    with (
        writing(folder, on_wait),
        explained(folder),
        contextlib.closing(open_to_update(folder)) as catalog,
    ):
        known = catalog.known_below(wanted)
        lost = [root for root in catalog.roots() if any(path in (root, *root.parents) for path in wanted)]
        for path in wanted:
            if not any(path in (found, *found.parents) for found in [*known, *lost]):
                raise UserError(f"{path}: nothing of it is in the collection; nothing was removed")
        usable = sum(row.error is None for row in known.values())
        published = catalog.publish(known, [], lost_roots=lost, selection=catalog.selection().without(lost))
        index = make_index(catalog, dim) if published.changed else None
        return Update(removed=usable, images=catalog.count()), index


def move(folder: Path, source: Path, target: Path, on_wait: Callable[[str], None] | None) -> int:
    """Record that a folder was moved; see ``Collection.move``.

    Args:
        folder: The collection's folder.
        source: Where it was.
        target: Where it is.
        on_wait: See ``Collection.update``.

    Returns:
        Number of moved images.

    Raises:
        UserError: As in ``Collection.move``.
    """
    if is_missing(target):
        raise UserError(f"{target}: no such file or folder; name the place where {source} is now")
    with (
        writing(folder, on_wait),
        explained(folder),
        contextlib.closing(open_to_update(folder)) as catalog,
    ):
        known = catalog.known_below([source])
        roots = [root for root in catalog.roots() if source in (root, *root.parents)]
        if not known and not roots:
            raise UserError(f"{source}: nothing of it is in the collection; status lists its folders")
        inside = [path for path in catalog.known_below([target]) if path not in known]
        if inside:
            raise UserError(
                f"{target}: {len(inside)} files of it are in the collection already; "
                f"forget one of both with --remove, {target} or {source}"
            )
        catalog.move(source, target)
        return sum(row.error is None for row in known.values())
