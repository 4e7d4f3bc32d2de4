"""Images inside tar archives (WebDataset's layout), for training: listed by their headers, read where they lie.

Nothing is extracted. Compressed archives are refused, since their members cannot be reached without unpacking
all that lies before them.
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
LONGEST_HEADER = 1 << 20  # bytes; a pax header of a name has a few hundred
LARGEST_MEMBER = 2 << 30  # bytes; more than 200 megapixels take uncompressed
CHUNK = 1 << 20  # bytes, a multiple of BLOCK
JOINED_WITHIN = 1 << 20  # bytes of zeros between archives that were joined with cat
MAGIC_OFFSET = 257  # of "ustar" in a header

_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
}


@dataclass(frozen=True)
class ShardMember(ImageFile):
    """An image inside a tar archive; ``path``, ``size`` and ``mtime_ns`` are the archive's."""

    member: str  # name in the archive; bytes that are not UTF-8 as surrogates
    offset: int  # of its first byte in the archive
    length: int  # bytes

    @property
    def identity(self) -> Identity:
        return Identity(self.path, self.size, self.mtime_ns, self.member, self.offset)

    @property
    def label(self) -> Path:
        return self.path / self.member.lstrip("/")


def list_training_images(roots: Sequence[Path]) -> Listing:
    """What :func:`list_images` finds, and the image members of the tar archives among it.

    Sorted by path, members of an archive in their order there. Damaged archives give the members that can be
    read, and one entry in ``unreadable``; so do compressed ones.

    Raises :class:`UserError` as :func:`list_images` does.
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
    """The bytes of a member; raises :class:`ImageError` when the archive is not as it was listed."""
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
    """Why not all of an archive can be listed; the message is fit for a report."""


class _Headers:
    """An archive as tarfile reads it, which is not to swallow a file because a damaged header says so."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell
        self.at, self.last = 0, b""  # where the last read was, and what it gave

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
    """The members of an open archive of ``size`` bytes that are images by their names, in order.

    Others are counted in ``listing``. Raises :class:`Damaged` in the end where not all of it can be listed.
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
    """Members whose bytes are all there, in order; raises :class:`Damaged` in the end if something is wrong.

    After damage the search goes on at the next sound header.
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
                    vars(tar)["members"].clear()  # it would keep them all
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
                limit = headers.at + JOINED_WITHIN  # its end; another may be joined to it
        # on damaged headers tarfile raises nearly anything, ValueError and RecursionError among them
        except Exception as error:
            if isinstance(error, OSError) and error.errno != errno.EINVAL:  # EINVAL: a seek to nowhere
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
    """Where the next header is, at or after byte ``start`` and before ``limit``."""
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
