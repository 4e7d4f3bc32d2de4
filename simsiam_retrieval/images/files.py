"""Which files of a folder are candidates for decoding."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UserError

# What Pillow and pi-heif decode safely; anything else in a folder is counted, never opened.
SUFFIXES = frozenset(
    [
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
        *(".avif", ".avifs", ".heic", ".heif", ".hif"),
    ]
)


@dataclass(frozen=True)
class ImageFile:
    """A file that claims to be an image, as it was when it was listed."""

    path: Path  # absolute
    size: int  # bytes
    mtime_ns: int


@dataclass
class Listing:
    """What a walk found."""

    images: list[ImageFile] = field(default_factory=list)  # sorted by path, each path once
    other: int = 0  # files that are not images by their name
    unreadable: list[tuple[Path, str]] = field(default_factory=list)  # folders and files, with the reason


def absolute(path: str | Path) -> Path:
    """One spelling for a path: absolute, without ``~`` and ``..``; links stay as they are."""
    return Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100


def list_images(roots: Sequence[Path]) -> Listing:
    """List the image files at or below ``roots``.

    A root may be a file or a folder. Hidden files and folders (a leading dot) are left out; so are links to
    folders, which could turn in circles. Nothing is opened: a file counts by its suffix, size and time.

    Raises :class:`UserError` when a root does not exist or cannot be read.
    """
    listing = Listing()
    seen: set[Path] = set()
    for root in roots:
        root = absolute(root)
        if not root.exists():
            raise UserError(f"{root}: no such file or folder; check the spelling")
        if root.is_dir():
            if not os.access(root, os.R_OK | os.X_OK):
                raise UserError(f"{root}: no permission to read this folder")
            paths = _walk(root, listing)
        else:
            paths = iter([root])
        for path in paths:
            if path.suffix.lower() not in SUFFIXES:
                listing.other += 1
            elif path not in seen:
                seen.add(path)
                try:
                    status = path.stat()
                except OSError as error:
                    listing.unreadable.append((path, error.strerror or str(error)))
                else:
                    listing.images.append(ImageFile(path, status.st_size, status.st_mtime_ns))
    listing.images.sort(key=lambda image: os.fsencode(image.path))
    return listing


def _walk(root: Path, listing: Listing) -> Iterator[Path]:
    def note(error: OSError) -> None:
        listing.unreadable.append((Path(os.fsdecode(error.filename)), error.strerror or str(error)))

    for folder, subfolders, names in os.walk(root, onerror=note):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in names:
            path = Path(folder, name)
            # is_file() is false for sockets, FIFOs and devices, which would block or never end
            if not name.startswith("."):
                if path.is_file():
                    yield path
                else:
                    listing.unreadable.append((path, "not a regular file"))
