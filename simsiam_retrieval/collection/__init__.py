"""An indexed folder on disk: catalog (SQLite), vectors, FAISS index; updating and searching it."""

from .collection import Collection, Hit, Item
from .duplicates import Duplicate

__all__ = ["Collection", "Duplicate", "Hit", "Item"]
