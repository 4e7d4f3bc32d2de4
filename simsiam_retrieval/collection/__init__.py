"""An indexed folder on disk: catalog (SQLite), vectors, FAISS index; updating and searching it."""

from .catalog import Item
from .collection import Collection
from .duplicates import Duplicate
from .hits import Hits
from .searching import Hit

__all__ = ["Collection", "Duplicate", "Hit", "Hits", "Item"]
