"""The interface of targets: they take tiles, and in the end contain exactly the collection's images."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from .rows import Rows, Tile


@dataclass
class Change:
    """Numbers of rows that were written, kept unchanged, and removed."""

    written: int = 0
    kept: int = 0
    removed: int = 0

    def add(self, other: "Change") -> None:
        """Add the numbers of another change.

        Args:
            other: The other change.
        """
        self.written += other.written
        self.kept += other.kept
        self.removed += other.removed


class Target(ABC):
    """A place that is brought up to date one tile at a time. If it is killed at any moment, the next run continues.

    Attributes:
        span: Ids per tile.
        where: Its name, for messages.
    """

    span: int
    where: str

    @abstractmethod
    def write(self, tile: Tile) -> Change:
        """Make the rows with ids in (tile.after, tile.last] equal to the tile's rows.

        Args:
            tile: The tile.

        Returns:
            What was changed.
        """

    @abstractmethod
    def finish(self, last: int) -> Change:
        """Remove rows with ids above ``last``, and make the target ready for searching.

        Args:
            last: The largest id of the collection's last tile.

        Returns:
            What was changed.
        """

    @abstractmethod
    def explained(self) -> AbstractContextManager[None]:
        """Return a context in which errors of the target's library become a ``UserError``.

        Returns:
            The context manager.
        """

    @abstractmethod
    def how_to_query(self, encoder: Path) -> list[str]:
        """Return lines of Python that search the target with an image.

        Args:
            encoder: The encoder's file.

        Returns:
            Lines of code.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""


class Table(Target):
    """A table of a database whose rows are overwritten by id."""

    span = 10_000

    @abstractmethod
    def hashes(self, after: int, upto: int | None, limit: int) -> dict[int, str]:
        """Read the hashes of rows with ids in (after, upto].

        Args:
            after: Lower bound.
            upto: Upper bound; None for no bound.
            limit: Number of rows at most.

        Returns:
            Id -> row hash.
        """

    @abstractmethod
    def put(self, rows: Rows) -> None:
        """Insert rows, or overwrite those with the same ids.

        Args:
            rows: The rows.
        """

    @abstractmethod
    def remove(self, ids: list[int]) -> None:
        """Delete rows.

        Args:
            ids: Their ids.
        """

    def write(self, tile: Tile) -> Change:
        """See ``Target.write``."""
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
        """See ``Target.finish``."""
        change = Change(removed=self._clear(last, None))
        self.settle()
        return change

    def settle(self) -> None:
        """Make the table ready for searching."""

    def _clear(self, after: int, upto: int | None) -> int:
        removed = 0
        if upto is not None and upto <= after:
            return removed
        while found := self.hashes(after, upto, self.span):
            self.remove(sorted(found))
            removed += len(found)
        return removed
