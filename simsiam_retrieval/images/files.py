"""Listing the files of folders that may be images."""

import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ..core.errors import UserError
from ..core.paths import absolute
from .companions import RAWS, is_companion, is_raw_of_a_pair
from .dicom_names import DICOM_SUFFIXES, is_unnamed_dicom
from .mounts import mount_above
from .system_folders import system_folder

# Suffixes of files that Pillow, pi-heif and the extras decode. Other files are counted and never opened. Suffixes of
# an extra that is not installed are included: the report then says what to install.
SUFFIXES = frozenset(
    [
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
        *(".avif", ".avifs", ".heic", ".heif", ".hif", ".jp2", ".j2k", ".j2c", ".jpc", ".jpx", ".jxl"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".btf", ".tf8"),
        *DICOM_SUFFIXES,
        *RAWS,
    ]
)


# Tar archives may contain training images. Compressed ones are recognised only to report them.
TAR = ".tar"
TABLE = ".parquet"  # a table that may have a column of images (index on a cluster)
COMPRESSED_TARS = (
    *(".tgz", ".tbz", ".tbz2", ".txz", ".tlz", ".tzst"),
    *(TAR + suffix for suffix in (".gz", ".bz2", ".xz", ".lzma", ".lz4", ".zst", ".z", ".br")),
)


class Identity(NamedTuple):
    """The identity of an image's content: equal identities mean equal bytes, as far as the file system can tell.

    Attributes:
        path: Path of the file, or of the tar archive that contains it.
        size: Size of the file or archive in bytes.
        mtime_ns: Time of the last change, in ns.
        member: Name inside an archive; empty for a plain file.
        offset: Position of the member's bytes inside the archive.
    """

    path: Path
    size: int
    mtime_ns: int
    member: str
    offset: int


@dataclass(frozen=True)
class ImageFile:
    """A file that should be an image according to its name, as it was when it was listed.

    Attributes:
        path: Absolute path.
        size: Size in bytes.
        mtime_ns: Time of the last change, in ns.
        ctime_ns: Time when the content or the name last changed, in ns; 0 if unknown.
    """

    path: Path
    size: int
    mtime_ns: int
    ctime_ns: int = field(default=0, compare=False, kw_only=True)

    @property
    def identity(self) -> Identity:
        """Identity of the content; it changes when the file changes."""
        return Identity(self.path, self.size, self.mtime_ns, "", 0)

    @property
    def label(self) -> Path:
        """The path that reports show."""
        return self.path


@dataclass
class Listing:
    """The result of listing folders.

    Attributes:
        images: Sorted by path, each path once.
        other: Number of files that are no images by their name.
        unreadable: Folders and files that cannot be read, with the reason.
        archives: Files of ``other`` that are tar archives by their name.
        tables: Files of ``other`` that are Parquet files by their name.
        skipped: Number of archive members that are links, devices, hidden or sparse; see ``tar_archives.py``.
        mounts: Mount points at, above or below the roots, except "/".
        kinds: Suffix -> number of files of ``other``, without companions.
        companions: Number of files of ``other`` that belong to an image in the same folder: sidecars, clips of live
            photos, raw files.
        system_folders: Trash, snapshot and thumbnail folders that were skipped.
        linked_folders: Number of links to folders that were skipped.
    """

    images: list[ImageFile] = field(default_factory=list)
    other: int = 0
    unreadable: list[tuple[Path, str]] = field(default_factory=list)
    archives: list[Path] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)
    skipped: int = 0
    mounts: set[Path] = field(default_factory=set)
    kinds: Counter[str] = field(default_factory=Counter)
    companions: int = 0
    system_folders: Counter[str] = field(default_factory=Counter)
    linked_folders: int = 0


def list_images(roots: Sequence[Path], *, follow_links: bool = False) -> Listing:
    """List the image files at or below ``roots``. Suffix, size and time decide.

    Only files without a suffix are opened, and those whose suffix is a number: scanners name DICOM files so.

    Hidden files and folders (with a leading dot) are skipped. Trash and system folders (``system_folders.py``) are
    skipped, unless a root is one or is inside one.

    Args:
        roots: Files or folders.
        follow_links: Whether to follow links to folders; then each folder is entered once.

    Returns:
        The images, and what was skipped.

    Raises:
        UserError: A root does not exist or cannot be read.
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
            if path.suffix.lower() not in SUFFIXES and not is_unnamed_dicom(path):
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
    pairs = {image.path for image in listing.images if is_raw_of_a_pair(image.path, seen)}
    if pairs:
        listing.images = [image for image in listing.images if image.path not in pairs]
        listing.other += len(pairs)
        listing.companions += len(pairs)
    listing.images.sort(key=lambda image: os.fsencode(image.path))
    listing.archives = sorted(archives, key=os.fsencode)
    listing.tables = sorted(tables, key=os.fsencode)
    return listing


def _walk(root: Path, listing: Listing, *, follow_links: bool) -> Iterator[Path]:
    folders = [root]
    entered: set[tuple[int, int]] = set()  # needed only for links, which can form circles
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
                is_folder = linked_folder = False  # the later stat() gives the reason
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
    """Return the text of an operating system's error for reports: lower case, without the path.

    Args:
        error: The error.

    Returns:
        The reason.
    """
    return (error.strerror or str(error)).lower()
