"""Pieces: what one shard is made of, and the name that it has for that.

Loose files are cut where a hash of a file's name says so, not after so many of them: a file that is added or removed
then changes one piece, and the shards of all others stay as they are.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import PurePosixPath

from ..collection.storage.shard_file import shard_name
from .locations import StoredFile

SHARD_IMAGES = 1024  # in one shard, at most


@dataclass(frozen=True)
class Member:
    """An image inside an archive."""

    name: str  # bytes that are not UTF-8 as surrogates
    offset: int  # of its first byte in the archive
    length: int  # bytes


@dataclass(frozen=True)
class Part:
    """Which part of an archive or table a piece is."""

    first: int  # member or row
    stop: int
    total: int  # of the whole file
    column: str = ""  # of a table: the one that holds the images' bytes, as a path ("image.bytes")


@dataclass(frozen=True)
class Piece:
    """Images that are embedded together, into one shard; what it is made of cannot change without its name."""

    source: str  # the named folder, file or URL that they come from
    files: tuple[StoredFile, ...]  # loose images; or one archive or table
    part: Part | None = None  # of an archive or table
    members: tuple[Member, ...] = ()  # of an archive, those of this part

    def __len__(self) -> int:
        return len(self.files) if self.part is None else self.part.stop - self.part.first

    @property
    def labels(self) -> list[str]:
        """The name of each image: where it lies, ``ARCHIVE/member``, or ``TABLE#row``."""
        if self.part is None:
            return [file.location for file in self.files]
        location = self.files[0].location
        if self.members:
            return [f"{location}/{PurePosixPath(member.name.lstrip('/'))}" for member in self.members]
        return [f"{location}#{row}" for row in range(self.part.first, self.part.stop)]

    def name(self, encoder: str) -> str:
        """The name of the shard that an encoder (its identity) makes of these images."""
        part = {} if self.part is None else {"part": [self.part.first, self.part.stop, self.part.column]}
        return shard_name(encoder, [{**asdict(file), **part} for file in self.files])

    def only(self, chosen: Sequence[int]) -> "Piece":
        """A piece of loose files with some of them alone."""
        return replace(self, files=tuple(self.files[index] for index in chosen))


def cut_files(source: str, files: Sequence[StoredFile], most: int = SHARD_IMAGES) -> Iterator[Piece]:
    """Pieces of at most ``most`` loose files, which are sorted by name."""
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
    """Pieces of at most ``most`` members, in their order."""
    for first in range(0, len(members), most):
        stop = min(first + most, len(members))
        part = Part(first, stop, len(members))
        yield Piece(source, (archive,), part, tuple(members[first:stop]))


def cut_table(
    source: str, table: StoredFile, groups: Sequence[int], column: str, most: int = SHARD_IMAGES
) -> Iterator[Piece]:
    """Pieces of at most ``most`` rows of a table whose row groups have ``groups`` rows.

    Whole row groups where they are small enough, since a row group is read as a whole.
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
