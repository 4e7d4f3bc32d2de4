"""Problems that a person looked at and found fine. Stored in the collection by content, so moved files keep it."""

import contextlib
import json
from collections.abc import Sequence

from ..collection import Collection
from ..storage.catalog_file import explained
from ..storage.opening import open_to_update
from ..storage.store import Store
from ..storage.writer_lock import writing
from .problems import Problem

KEY = "fine"  # key of the catalog's settings: JSON, kind -> hexadecimal digests


def stored(catalog: Store) -> dict[str, set[str]]:
    """Read which contents are marked as fine.

    Args:
        catalog: The catalog.

    Returns:
        Kind -> digests.
    """
    found = catalog.noted_json(KEY) or {}
    return {str(kind): set(map(str, digests)) for kind, digests in found.items()}


def set_fine(collection: Collection, problems: Sequence[Problem], *, fine: bool = True) -> int:
    """Record that problems are fine, or that they are problems after all. Files outside the collection are skipped.

    Args:
        collection: The collection.
        problems: The problems.
        fine: False records the opposite.

    Returns:
        Number of changes.

    Raises:
        UserError: Another process is updating, or the collection cannot be written.
    """
    folder = collection.folder
    with writing(folder), explained(folder), contextlib.closing(open_to_update(folder)) as catalog:
        known = stored(catalog)
        digests = {id_: digest for id_, *_, digest in catalog.by_quality() if digest is not None}
        changed = 0
        for problem in problems:
            if problem.item is None or problem.item.id not in digests:
                continue
            digest, of_kind = digests[problem.item.id].hex(), known.setdefault(problem.kind, set())
            if fine != (digest in of_kind):
                changed += 1
                (of_kind.add if fine else of_kind.discard)(digest)
        catalog.note(KEY, json.dumps({kind: sorted(digests) for kind, digests in known.items() if digests}))
    return changed
