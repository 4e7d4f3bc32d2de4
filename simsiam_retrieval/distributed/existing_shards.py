"""The existing shards of a collection: their footers and rows, and which rows can be used again."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..collection.storage import shard_file, shard_parquet_reader
from ..collection.storage.shard_file import Facts
from ..core.atomic_files import replacing
from ..core.errors import UserError
from .locations import exact
from .pieces import Piece


@dataclass(frozen=True)
class Known:
    """A row of a shard.

    Attributes:
        size: Size of the image file in bytes.
        mtime_ns: Time of its last change, in ns.
        usable: Whether it has a vector.
        shard: Name of the shard.
        number: Number of the row.
    """

    size: int
    mtime_ns: int
    usable: bool
    shard: str
    number: int


class Stock:
    """The shards of one encoder in a collection's folder. Damaged shards count as missing.

    Args:
        folder: The collection's folder.
        encoder: Identity of the encoder.
        dim: Numbers of a vector.
    """

    def __init__(self, folder: Path, encoder: str, dim: int) -> None:
        self._folder, self._encoder, self._dim = folder, encoder, dim
        self._facts: dict[str, Facts] = {}
        for name in shard_file.shard_names(folder):
            self._look_at(name)

    @property
    def names(self) -> set[str]:
        """Names of all readable shards."""
        return set(self._facts)

    def source(self, name: str) -> str:
        """Return the source (folder, file or URL) that a shard's images come from.

        Args:
            name: Name of the shard.

        Returns:
            The source, as the user named it.
        """
        return self._facts[name].extra.get("source", "")

    def images(self, names: Iterable[str]) -> int:
        """Count the images with a vector.

        Args:
            names: Names of shards.

        Returns:
            Number of images.
        """
        return sum(self._facts[name].rows - self._count(name, "unusable") for name in names)

    def may_improve(self, name: str) -> bool:
        """Return whether some images of a shard failed for a reason that may be temporary.

        Args:
            name: Name of the shard.

        Returns:
            True if there are any.
        """
        return self._count(name, "retry") > 0

    def failures(self, names: Iterable[str]) -> list[tuple[Path, str]]:
        """List the images without a vector.

        Args:
            names: Names of shards.

        Returns:
            Paths and reasons.
        """
        found = []
        for name in names:
            if self._count(name, "unusable"):
                table = self._columns(name, ["path", "path_bytes", "reason"])
                for row in table.filter(table["reason"].is_valid()).to_pylist():
                    path = row["path"] if row["path_bytes"] is None else row["path_bytes"]
                    found.append((Path(os.fsdecode(path)), row["reason"]))
        return found

    def rows(self, names: Iterable[str]) -> dict[str | bytes, Known]:
        """Read all rows of shards.

        Args:
            names: Names of shards.

        Returns:
            Path -> row.
        """
        return {
            row["path"]: Known(row["size"], row["mtime_ns"], row["reason"] is None, name, number)
            for name in names
            for number, row in enumerate(self._rows(name))
        }

    def write(self, name: str, content: bytes) -> None:
        """Write a shard's file in one step.

        Args:
            name: Name of the shard.
            content: Bytes of the file.
        """
        with replacing(shard_file.shard_file(self._folder, name)) as temporary:
            temporary.write_bytes(content)
        self._look_at(name)

    def table(self, name: str) -> Any:
        """Read a whole shard.

        Args:
            name: Name of the shard.

        Returns:
            An Arrow table.
        """
        return self._columns(name, None)

    def remove(self, names: Iterable[str]) -> None:
        """Delete shards.

        Args:
            names: Names of shards.
        """
        for name in names:
            shard_file.shard_file(self._folder, name).unlink(missing_ok=True)
            self._facts.pop(name, None)

    def _columns(self, name: str, columns: list[str] | None) -> Any:
        with shard_parquet_reader.opened(shard_file.shard_file(self._folder, name)) as parquet:
            return parquet.read(columns, use_threads=False)

    def _look_at(self, name: str) -> None:
        try:
            file = shard_file.shard_file(self._folder, name)
            self._facts[name] = shard_parquet_reader.read_facts(file, self._encoder, self._dim)
        except UserError:
            self._facts.pop(name, None)

    def _rows(self, name: str) -> Iterable[dict[str, Any]]:
        for group in shard_parquet_reader.read_rows(shard_file.shard_file(self._folder, name)):
            yield from group

    def _count(self, name: str, key: str) -> int:
        return int(self._facts[name].extra.get(key, "0"))


def keys(piece: Piece) -> list[str | bytes]:
    """Return the paths of a piece's images, in the form of the keys of ``Stock.rows``.

    Args:
        piece: The piece.

    Returns:
        The paths; bytes if a name is not UTF-8.
    """
    found = []
    for label in piece.labels:
        text, raw = exact(label)
        found.append(text if raw is None else raw)
    return found
