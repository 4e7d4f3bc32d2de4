"""Which files of a folder are candidates for decoding."""

import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ..core.errors import UserError
from ..core.paths import absolute
from .companions import is_companion
from .mounts import mount_above
from .system_folders import system_folder

# What Pillow, pi-heif and the extras decode safely; anything else in a folder is counted, never opened. Files of an
# extra that is not installed count as well: the report says what to install.
SUFFIXES = frozenset(
    [
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
        *(".avif", ".avifs", ".heic", ".heif", ".hif", ".jp2", ".j2k", ".j2c", ".jpc", ".jpx", ".jxl"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".btf", ".tf8", ".dcm", ".dicom"),
        *(".dng", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw"),
    ]
)


# Tar archives, which may hold images for training; compressed ones are known in order to say so.
TAR = ".tar"
TABLE = ".parquet"  # a table that may have a column of images, for a cluster
COMPRESSED_TARS = (
    *(".tgz", ".tbz", ".tbz2", ".txz", ".tlz", ".tzst"),
    *(TAR + suffix for suffix in (".gz", ".bz2", ".xz", ".lzma", ".lz4", ".zst", ".z", ".br")),
)


class Identity(NamedTuple):
    """Two images with equal identities have equal bytes, as far as the file system can tell."""

    path: Path  # of the file, or of the shard that it is a member of
    size: int  # of the file or shard, bytes
    mtime_ns: int
    member: str  # name inside a shard; empty for a file of its own
    offset: int  # of the member's bytes inside the shard


@dataclass(frozen=True)
class ImageFile:
    """A file that claims to be an image, as it was when it was listed."""

    path: Path  # absolute
    size: int  # bytes
    mtime_ns: int
    # when the file system last noted a change, of the content or of the name; 0 where nobody looked
    ctime_ns: int = field(default=0, compare=False, kw_only=True)

    @property
    def identity(self) -> Identity:
        """What tells this image from others, and from itself after a change."""
        return Identity(self.path, self.size, self.mtime_ns, "", 0)

    @property
    def label(self) -> Path:
        """How reports name it."""
        return self.path


@dataclass
class Listing:
    """What a walk found."""

    images: list[ImageFile] = field(default_factory=list)  # sorted by path, each path once
    other: int = 0  # files that are not images by their name
    unreadable: list[tuple[Path, str]] = field(default_factory=list)  # folders and files, with the reason
    archives: list[Path] = field(default_factory=list)  # those of ``other`` that are tar archives by their name
    tables: list[Path] = field(default_factory=list)  # those of ``other`` that are Parquet files by their name
    skipped: int = 0  # members of archives that are links, devices, hidden or sparse; see ``tar_archives.py``
    mounts: set[Path] = field(default_factory=set)  # mount points at, above or below the roots, "/" aside
    kinds: Counter[str] = field(default_factory=Counter)  # suffix -> how many of ``other``, companions aside
    companions: int = 0  # those of ``other`` that belong to an image beside them: sidecars, clips of live photos
    system_folders: Counter[str] = field(default_factory=Counter)  # trash, snapshots, thumbnails that were passed over
    linked_folders: int = 0  # links to folders that were passed over


def list_images(roots: Sequence[Path], *, follow_links: bool = False) -> Listing:
    """List the image files at or below ``roots``.

    A root may be a file or a folder. Hidden files and folders (a leading dot) are left out, and trash and system
    folders (:mod:`.system_folders`) unless a root is one, or in one. Links to folders are left out as well, unless
    ``follow_links``: then each folder is entered once. Nothing is opened: a file counts by its suffix, size and time.

    Raises :class:`UserError` when a root does not exist or cannot be read.
    """
    listing = Listing()
    seen: set[Path] = set()
    archives: dict[Path, None] = {}
    tables: dict[Path, None] = {}
    others: list[Path] = []
    for root in roots:
        root = absolute(root)
        try:
            root.stat()
        except PermissionError:
            raise UserError(f"{root}: no permission to read it") from None
        except (OSError, ValueError):
            raise UserError(f"{root}: no such file or folder; check the spelling") from None
        above = mount_above(root)
        if above is not None:
            listing.mounts.add(above)
        if root.is_dir():
            if not os.access(root, os.R_OK | os.X_OK):
                raise UserError(f"{root}: no permission to read this folder")
            paths = _walk(root, listing, follow_links=follow_links)
        else:
            paths = iter([root])
        for path in paths:
            if path.suffix.lower() not in SUFFIXES:
                listing.other += 1
                others.append(path)
                if path.name.lower().endswith((TAR, *COMPRESSED_TARS)):
                    archives[path] = None
                elif path.suffix.lower() == TABLE:
                    tables[path] = None
            elif path not in seen:
                seen.add(path)
                try:
                    status = path.stat()
                except OSError as error:
                    listing.unreadable.append((path, reason(error)))
                    continue
                # sockets, FIFOs and devices would block or never end
                if stat.S_ISREG(status.st_mode):
                    listing.images.append(
                        ImageFile(path, status.st_size, status.st_mtime_ns, ctime_ns=status.st_ctime_ns)
                    )
                else:
                    listing.unreadable.append((path, "not a regular file"))
    for path in others:
        if is_companion(path, seen):
            listing.companions += 1
        else:
            listing.kinds[path.suffix.lower()] += 1
    listing.images.sort(key=lambda image: os.fsencode(image.path))
    listing.archives = sorted(archives, key=os.fsencode)
    listing.tables = sorted(tables, key=os.fsencode)
    return listing


def _walk(root: Path, listing: Listing, *, follow_links: bool) -> Iterator[Path]:
    folders = [root]
    entered: set[tuple[int, int]] = set()  # only where links are followed, which could turn in circles
    while folders:  # not os.walk: in Python 3.11 it recurses, and folders can be deeper than the stack
        folder = folders.pop()
        try:
            if follow_links:
                status = folder.stat()
                if (status.st_dev, status.st_ino) in entered:
                    continue
                entered.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as entries:
                found = sorted(entries, key=_name)
        except OSError as error:
            listing.unreadable.append((folder, reason(error)))
            continue
        for entry in found:
            try:
                is_folder = entry.is_dir(follow_symlinks=False)
                linked_folder = not is_folder and entry.is_symlink() and entry.is_dir()
            except OSError:
                is_folder = linked_folder = False  # its stat() will say why
            known = system_folder(entry.name, folder.name) if is_folder else None
            if known is not None:
                listing.system_folders[known] += 1
            elif entry.name.startswith("."):
                continue
            elif is_folder or (linked_folder and follow_links):
                if os.path.ismount(entry.path):
                    listing.mounts.add(Path(entry.path))
                folders.append(Path(entry.path))
            elif linked_folder:
                listing.linked_folders += 1
            else:
                yield Path(entry.path)


def _name(entry: os.DirEntry[str]) -> bytes:
    return os.fsencode(entry.name)


def reason(error: OSError) -> str:
    """An operating system's error as reports give it: lower case, without the path."""
    return (error.strerror or str(error)).lower()
