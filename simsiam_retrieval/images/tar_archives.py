"""Images inside tar archives (WebDataset's layout) for training: listed by their headers, read in place.

Nothing is extracted. Compressed archives are refused, because a member can be reached only by unpacking everything
before it.
"""

import errno
import os
import stat
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from .decode import ImageError
from .files import COMPRESSED_TARS, SUFFIXES, Identity, ImageFile, Listing, list_images, reason

BLOCK = tarfile.BLOCKSIZE
LONGEST_HEADER = 1 << 20  # bytes; a usual pax header has a few hundred
LARGEST_MEMBER = 2 << 30  # bytes; more than 200 megapixels need uncompressed
CHUNK = 1 << 20  # bytes, a multiple of BLOCK
JOINED_WITHIN = 1 << 20  # largest number of zero bytes between archives that were joined with cat
MAGIC_OFFSET = 257  # position of "ustar" in a header

_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
}


@dataclass(frozen=True)
class ShardMember(ImageFile):
    """An image inside a tar archive. ``path``, ``size`` and ``mtime_ns`` are the archive's.

    Attributes:
        member: Name in the archive; bytes that are not UTF-8 are surrogates.
        offset: Position of its first byte in the archive.
        length: Size in bytes.
    """

    member: str
    offset: int
    length: int

    @property
    def identity(self) -> Identity:
        """Identity of the content; it changes when the archive changes."""
        return Identity(self.path, self.size, self.mtime_ns, self.member, self.offset)

    @property
    def label(self) -> Path:
        """The path that reports show: ARCHIVE/MEMBER."""
        return self.path / self.member.lstrip("/")


def list_training_images(roots: Sequence[Path]) -> Listing:
    """List image files, and the images inside tar archives.

    Sorted by path; members of an archive stay in their order. A damaged archive gives the members that can be read and
    one entry in ``unreadable``. A compressed one gives only the entry.

    Args:
        roots: Files or folders.

    Returns:
        The images.

    Raises:
        UserError: A root does not exist or cannot be read.
    """
    listing = list_images(roots)
    for path in listing.archives:
        listing.other -= 1
        try:
            _list_members(path, listing)
        except Damaged as damage:
            listing.unreadable.append((path, str(damage)))
        except OSError as error:
            listing.unreadable.append((path, reason(error)))
    listing.images.sort(key=lambda image: os.fsencode(image.path))  # stable: members stay in order
    return listing


def read_member(image: ShardMember) -> bytes:
    """Read the bytes of an archive's member.

    Args:
        image: The member.

    Returns:
        Its bytes.

    Raises:
        ImageError: The archive has changed, or cannot be read.
    """
    if image.length > LARGEST_MEMBER:
        raise ImageError(f"too large: {image.length / 1e9:.1f} GB")
    try:
        with image.path.open("rb") as file:
            status = os.fstat(file.fileno())
            if (status.st_size, status.st_mtime_ns) != (image.size, image.mtime_ns):
                raise ImageError("its archive has changed since it was listed", lasting=False)
            file.seek(image.offset)
            content = file.read(image.length)
    except FileNotFoundError:
        raise ImageError("its archive is gone", lasting=False) from None
    except OSError as error:
        raise ImageError(reason(error), lasting=False) from None
    if len(content) < image.length:
        raise ImageError("its archive ends before it", lasting=False)
    return content


class Damaged(Exception):
    """Why an archive cannot be listed completely; reports show the message."""


class _Headers:
    """A file for tarfile that refuses to read a large piece because a damaged header asks for it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell
        self.at, self.last = 0, b""  # position and result of the last read

    def read(self, count: int) -> bytes:
        if not 0 <= count <= LONGEST_HEADER:
            raise tarfile.ReadError
        self.at = self._file.tell()
        self.last = self._file.read(count)
        return self.last


def _list_members(path: Path, listing: Listing) -> None:
    if path.name.lower().endswith(COMPRESSED_TARS):
        raise Damaged("a compressed archive; decompress it first, to a plain .tar")
    if not stat.S_ISREG(path.stat().st_mode):  # opening a FIFO would block
        raise Damaged("not a regular file")
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        for member in image_members(file, status.st_size, listing):
            place = (member.name, member.offset_data, member.size)
            listing.images.append(ShardMember(path, status.st_size, status.st_mtime_ns, *place))


def image_members(file: BinaryIO, size: int, listing: Listing) -> Iterator[tarfile.TarInfo]:
    """List the members of an open archive that are images by their names, in order. Others are counted.

    Args:
        file: The open archive.
        size: Its size in bytes.
        listing: Counts the other members.

    Yields:
        Members.

    Raises:
        Damaged: At the end, if the archive cannot be listed completely.
    """
    for magic, kind in _MAGIC.items():
        if file.read(len(magic)) == magic:
            raise Damaged(f"compressed with {kind}, whatever its name says; decompress it first, to a plain .tar")
        file.seek(0)
    for member in _members(file, size):
        if not (member.isreg() and not member.issparse()):
            listing.skipped += not member.isdir()
        elif PurePosixPath(member.name).suffix.lower() not in SUFFIXES:
            listing.other += 1
        elif _is_hidden(member.name):
            listing.skipped += 1
        else:
            yield member


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") and part != "." for part in name.split("/"))


def _members(file: BinaryIO, size: int) -> Iterator[tarfile.TarInfo]:
    """Members whose bytes are complete, in order; raises ``Damaged`` at the end if something is wrong.

    After damage the search continues at the next valid header.
    """
    headers = _Headers(file)
    damage: str | None = None
    found = False
    reached = 0  # end of the last member
    start: int | None = 0
    while start is not None:
        headers.seek(start)
        try:
            with tarfile.open(fileobj=cast(BinaryIO, headers), mode="r:", encoding="utf-8") as tar:
                while (member := tar.next()) is not None:
                    vars(tar)["members"].clear()  # otherwise tarfile keeps all members in memory
                    if member.size < 0 or member.offset < reached:
                        raise tarfile.ReadError
                    has_body = member.isreg() and not member.issparse()
                    reached = member.offset_data + (member.size if has_body else 0)
                    if reached > size:
                        break
                    found = True
                    yield member
            limit = size
            if reached > size or len(headers.last) < BLOCK:
                damage = damage or "cut off"
            elif headers.last.strip(b"\0"):
                damage = damage or f"damaged at byte {headers.at}"
            else:
                limit = headers.at + JOINED_WITHIN  # the end of an archive; another one may follow
        # on damaged headers tarfile can raise almost any exception, for example ValueError and RecursionError
        except Exception as error:
            if isinstance(error, OSError) and error.errno != errno.EINVAL:  # EINVAL: a seek to an impossible position
                raise
            damage = damage or ("cut off" if headers.at >= size - BLOCK else f"damaged at byte {headers.at}")
            limit = size
        limit = limit if found else JOINED_WITHIN
        start = _next_header(file, max(start + BLOCK, headers.at + BLOCK, reached), limit)
    if damage is not None and not found:
        raise Damaged("not a tar archive" if size else "empty, not a tar archive")
    if damage is not None:
        raise Damaged(f"{damage}; the members that can be read are used")


def _next_header(file: BinaryIO, start: int, limit: int) -> int | None:
    """Position of the next header at or after ``start`` and before ``limit``."""
    position = -(-start // BLOCK) * BLOCK
    while position < limit:
        file.seek(position)
        chunk = file.read(CHUNK)
        at = chunk.find(b"ustar")
        while at >= 0:
            block = at - MAGIC_OFFSET
            if block >= 0 and block % BLOCK == 0 and _is_header(chunk[block : block + BLOCK]):
                return position + block
            at = chunk.find(b"ustar", at + 1)
        position += CHUNK
    return None


def _is_header(block: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    return True
