"""An indexed folder on disk: catalog (SQLite), vectors, FAISS index; updating and searching it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .collection import Collection
    from .search.hits import Hits
    from .types import Duplicate, Hit, Item

__all__ = ["Collection", "Duplicate", "Hit", "Hits", "Item"]


def __getattr__(name: str) -> Any:
    # imported on first use: `--help` of search and index needs the options of this package, and neither FAISS nor NumPy
    if name == "Collection":
        from .collection import Collection

        return Collection
    if name == "Hits":
        from .search.hits import Hits

        return Hits
    if name in ("Duplicate", "Hit", "Item"):
        from . import types

        return getattr(types, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
