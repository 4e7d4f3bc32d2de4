"""An indexed folder on disk: catalog (SQLite), vectors, FAISS index; updating and searching it."""

from .collection import Collection
from .duplicates.find_duplicates import Duplicate
from .search.hits import Hits
from .types import Hit, Item

__all__ = ["Collection", "Duplicate", "Hit", "Hits", "Item"]
