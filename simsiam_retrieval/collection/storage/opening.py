"""Opening the store of a collection, whichever kind it is."""

from pathlib import Path

from ...core.errors import UserError
from . import schema
from .capabilities import Capability, require
from .catalog_file import FILE, connect
from .parquet_store import ParquetStore
from .shard_manifest import is_sharded
from .sqlite_store import SqliteStore


def open_store(folder: Path) -> SqliteStore | ParquetStore:
    """Open an existing store, of this schema or an older one.

    Args:
        folder: The collection's folder.

    Returns:
        The store.

    Raises:
        UserError: There is none, or it was written by a newer version.
    """
    sharded = is_sharded(folder)
    if not (folder / FILE).is_file():
        if sharded:
            raise UserError(
                f"{folder}: embedded, but not built yet; "
                f"run: python -m simsiam_retrieval.index --rebuild-index --collection {folder}"
            )
        raise UserError(f"{folder}: not a collection; make one with: python -m simsiam_retrieval.index FOLDER")
    store = (ParquetStore if sharded else SqliteStore)(folder, connect(folder))
    found = store.schema()
    if found > schema.NEWEST:
        raise UserError(f"{folder}: made by a newer version of this package (schema {found}); upgrade to open it")
    return store


def open_to_update(folder: Path) -> SqliteStore:
    """Open a store whose images can be changed one by one, and bring it to the newest schema.

    Args:
        folder: The collection's folder.

    Returns:
        The store.

    Raises:
        UserError: As in ``open_store``; or it is a store that cannot.
    """
    store = open_store(folder)
    require(store, Capability.UPDATE)
    assert isinstance(store, SqliteStore)
    store.migrate()
    return store


def open_to_build(folder: Path) -> ParquetStore:
    """Open the store of a sharded collection to build it, and bring it to the newest schema.

    Args:
        folder: The collection's folder.

    Returns:
        The store.

    Raises:
        UserError: As in ``open_store``.
    """
    store = open_store(folder)
    assert isinstance(store, ParquetStore)
    store.migrate()
    return store
