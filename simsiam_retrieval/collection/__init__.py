"""An indexed folder on disk: catalog (SQLite), vectors, FAISS index; updating and searching it."""

from .collection import Collection, Hit, Item

__all__ = ["Collection", "Hit", "Item"]
