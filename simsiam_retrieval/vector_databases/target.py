"""What every target does: take tiles, so that in the end it holds the collection's images and no others."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from .rows import Rows, Tile


@dataclass
class Change:
    """Rows that were written, were there already, and were taken away."""

    written: int = 0
    kept: int = 0
    removed: int = 0

    def add(self, other: "Change") -> None:
        self.written += other.written
        self.kept += other.kept
        self.removed += other.removed


class Target(ABC):
    """A place that is brought up to date a tile at a time. Whatever moment it is killed at, the next run goes on."""

    span: int  # ids in a tile
    where: str  # for people

    @abstractmethod
    def write(self, tile: Tile) -> Change:
        """Make rows with ids in (tile.after, tile.last] those of the tile."""

    @abstractmethod
    def finish(self, last: int) -> Change:
        """Remove rows with ids beyond ``last``, and leave the target ready to be searched."""

    @abstractmethod
    def explained(self) -> AbstractContextManager[None]:
        """Within, complaints of the target's library become a :class:`UserError`."""

    @abstractmethod
    def how_to_query(self, encoder: Path) -> list[str]:
        """Lines of Python that search it with an image."""

    @abstractmethod
    def close(self) -> None:
        """Let go of it."""


class Table(Target):
    """A table of a database whose rows are written over by their ids."""

    span = 10_000

    @abstractmethod
    def hashes(self, after: int, upto: int | None, limit: int) -> dict[int, str]:
        """Id -> row hash of at most ``limit`` rows with ids in (after, upto], or from there on."""

    @abstractmethod
    def put(self, rows: Rows) -> None:
        """Insert rows, or write over those with the same ids."""

    @abstractmethod
    def remove(self, ids: list[int]) -> None:
        """Delete rows by id."""

    def write(self, tile: Tile) -> Change:
        change = Change(removed=self._clear(tile.after, tile.first))
        known = self.hashes(tile.first, tile.last, self.span)
        ids = tile.rows.ids.tolist()
        changed = [row for row, id_ in enumerate(ids) if known.get(id_) != tile.rows.facts[row]["row_hash"]]
        if changed:
            self.put(tile.rows.take(changed))
        gone = sorted(known.keys() - set(ids))
        if gone:
            self.remove(gone)
        change.add(Change(len(changed), len(ids) - len(changed), len(gone)))
        return change

    def finish(self, last: int) -> Change:
        change = Change(removed=self._clear(last, None))
        self.settle()
        return change

    def settle(self) -> None:
        """Leave the table ready to be searched."""

    def _clear(self, after: int, upto: int | None) -> int:
        removed = 0
        if upto is not None and upto <= after:
            return removed
        while found := self.hashes(after, upto, self.span):
            self.remove(sorted(found))
            removed += len(found)
        return removed
