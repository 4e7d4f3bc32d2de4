"""The part of a store that every collection has in common: its state and its settings."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol


class StoreSettings(Protocol):
    """The state of a store, and values that are stored by name; see ``Store``."""

    folder: Path

    def close(self) -> None:
        """Close the file."""

    def schema(self) -> int:
        """Return the version of its tables; another process may raise it at any time."""
        ...

    def generation(self) -> int:
        """Return the published generation; it grows with every update that changed something."""
        ...

    def snapshot(self) -> AbstractContextManager[None]:
        """Return a context in which all reads see one state; whoever wants to publish waits meanwhile."""
        ...

    def meta(self, key: str) -> str:
        """Return a setting that must be there.

        Args:
            key: Its name.

        Returns:
            Its value.

        Raises:
            DatabaseError: It is missing.
        """
        ...

    def noted(self, key: str) -> str | None:
        """Return a setting or a measurement.

        Args:
            key: Its name.

        Returns:
            Its value; None if it was never stored.
        """
        ...

    def note(self, key: str, value: str) -> None:
        """Store a setting or a measurement.

        Args:
            key: Its name.
            value: Its value.
        """

    def noted_json(self, key: str) -> Any:
        """Return what was stored as JSON.

        Args:
            key: Its name.

        Returns:
            Its value; None if it was never stored.

        Raises:
            DatabaseError: It is no JSON.
        """
        ...
