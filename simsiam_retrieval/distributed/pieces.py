"""Pieces: the images of one shard, and the shard's name.

Loose files are divided where a hash of a file's name says so, not after a fixed number. If a file is added or removed,
only one piece changes, and all other shards stay valid.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import PurePosixPath

from ..collection.storage.shard_file import shard_name
from .locations import StoredFile

SHARD_IMAGES = 1024  # images per shard at most


@dataclass(frozen=True)
class Member:
    """An image inside an archive.

    Attributes:
        name: Name; bytes that are not UTF-8 are surrogates.
        offset: Position of its first byte in the archive.
        length: Size in bytes.
    """

    name: str
    offset: int
    length: int


@dataclass(frozen=True)
class Part:
    """The part of an archive or table that a piece consists of.

    Attributes:
        first: First member or row.
        stop: One after the last member or row.
        total: Members or rows of the whole file.
        column: Path of the column with the images' bytes, for example "image.bytes"; empty for an archive.
    """

    first: int
    stop: int
    total: int
    column: str = ""


@dataclass(frozen=True)
class Piece:
    """Images that are embedded together into one shard. If the images change, the shard's name changes, too.

    Attributes:
        source: The folder, file or URL that the user named.
        files: Loose images, or one archive or table.
        part: Part of an archive or table; None for loose images.
        members: Members of an archive in this part.
    """

    source: str
    files: tuple[StoredFile, ...]
    part: Part | None = None
    members: tuple[Member, ...] = ()

    def __len__(self) -> int:
        return len(self.files) if self.part is None else self.part.stop - self.part.first

    @property
    def labels(self) -> list[str]:
        """Name of each image: its location, ``ARCHIVE/member``, or ``TABLE#row``."""
        if self.part is None:
            return [file.location for file in self.files]
        location = self.files[0].location
        if self.members:
            return [f"{location}/{PurePosixPath(member.name.lstrip('/'))}" for member in self.members]
        return [f"{location}#{row}" for row in range(self.part.first, self.part.stop)]

    def name(self, encoder: str) -> str:
        """Return the name of the shard of these images.

        Args:
            encoder: Identity of the encoder.

        Returns:
            The name.
        """
        part = {} if self.part is None else {"part": [self.part.first, self.part.stop, self.part.column]}
        return shard_name(encoder, [{**asdict(file), **part} for file in self.files])

    def only(self, chosen: Sequence[int]) -> "Piece":
        """Select some loose files.

        Args:
            chosen: Their positions.

        Returns:
            The smaller piece.
        """
        return replace(self, files=tuple(self.files[index] for index in chosen))


def cut_files(source: str, files: Sequence[StoredFile], most: int = SHARD_IMAGES) -> Iterator[Piece]:
    """Divide loose files into pieces.

    Args:
        source: The source.
        files: The files, sorted by name.
        most: Files per piece at most.

    Yields:
        Pieces.
    """
    least, spacing = max(1, most // 4), max(1, most // 2)
    start = 0
    for stop, file in enumerate(files):
        count = stop - start
        at_border = zlib.crc32(file.location.encode("utf-8", "surrogateescape")) % spacing == 0
        if count == most or (count >= least and at_border):
            yield Piece(source, tuple(files[start:stop]))
            start = stop
    if start < len(files):
        yield Piece(source, tuple(files[start:]))


def cut_archive(
    source: str, archive: StoredFile, members: Sequence[Member], most: int = SHARD_IMAGES
) -> Iterator[Piece]:
    """Divide the members of an archive into pieces, in order.

    Args:
        source: The source.
        archive: The archive.
        members: Its images.
        most: Members per piece at most.

    Yields:
        Pieces.
    """
    for first in range(0, len(members), most):
        stop = min(first + most, len(members))
        part = Part(first, stop, len(members))
        yield Piece(source, (archive,), part, tuple(members[first:stop]))


def cut_table(
    source: str, table: StoredFile, groups: Sequence[int], column: str, most: int = SHARD_IMAGES
) -> Iterator[Piece]:
    """Divide the rows of a table into pieces.

    Small row groups are not divided, because a row group is always read as a whole.

    Args:
        source: The source.
        table: The table.
        groups: Number of rows of each row group.
        column: Path of the column with images.
        most: Rows per piece at most.

    Yields:
        Pieces.
    """
    total, first, stop = sum(groups), 0, 0
    for rows in [*groups, 0]:
        end = stop + rows
        if stop > first and (end - first > most or rows == 0):
            yield Piece(source, (table,), Part(first, stop, total, column))
            first = stop
        stop = end
        while stop - first > most:
            yield Piece(source, (table,), Part(first, first + most, total, column))
            first += most
