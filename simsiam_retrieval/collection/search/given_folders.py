"""Checks of ``--folder`` for the commands that search or select."""

from typing import TYPE_CHECKING

from ...core.errors import UserError
from ..storage.shard_manifest import is_sharded
from .filters import Filter

if TYPE_CHECKING:
    from ..collection import Collection


def check_folders(collection: "Collection", where: Filter) -> None:
    """Check that something of the collection lies in each folder of a filter.

    Args:
        collection: The collection.
        where: The filter.

    Raises:
        UserError: Nothing lies in a folder.
    """
    if is_sharded(collection.folder):
        return  # its folders may be URLs, and it may have too many images to check
    for folder in where.given_folders:
        if not collection.matching(Filter(folders=(folder,))):
            raise UserError(f"--folder {folder}: nothing of it is in the collection; status lists its folders")
