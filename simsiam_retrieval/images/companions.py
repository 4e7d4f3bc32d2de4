"""Files that belong to a picture in the same folder: sidecars with edits, clips of live photos, raw files."""

from collections.abc import Container
from pathlib import Path

SIDECARS = frozenset((".xmp", ".aae", ".thm", ".json", ".pp3", ".dop", ".txt"))
CLIPS = frozenset((".mov", ".mp4", ".m4v"))
PICTURES = (".heic", ".HEIC", ".jpg", ".JPG", ".jpeg", ".JPEG", ".png", ".PNG", ".dng", ".DNG", ".webp", ".avif")


RAWS = frozenset(
    [
        *(
            ".dng",
            ".cr2",
            ".cr3",
            ".crw",
            ".nef",
            ".nrw",
            ".arw",
            ".sr2",
            ".orf",
            ".rw2",
            ".rwl",
            ".raf",
            ".pef",
            ".srw",
        ),
        *(".3fr", ".dcr", ".erf", ".kdc", ".mef", ".mrw", ".x3f"),
    ]
)
DEVELOPED = (".jpg", ".JPG", ".jpeg", ".JPEG", ".heic", ".HEIC", ".hif", ".HIF")  # what cameras write beside a raw file


def is_raw_of_a_pair(path: Path, pictures: Container[Path]) -> bool:
    """Return whether a file is a camera's raw file whose developed picture is there, too.

    Args:
        path: The file.
        pictures: All pictures.

    Returns:
        True if it is.
    """
    return path.suffix.lower() in RAWS and any(path.with_suffix(suffix) in pictures for suffix in DEVELOPED)


def is_companion(path: Path, pictures: Container[Path]) -> bool:
    """Return whether a file belongs to a picture, as ``a.jpg.xmp``, ``a.xmp`` and ``a.mov`` belong to ``a.jpg``.

    Args:
        path: The file.
        pictures: All pictures.

    Returns:
        True for a companion.
    """
    suffix = path.suffix.lower()
    if suffix not in SIDECARS and suffix not in CLIPS:
        return False
    if suffix in SIDECARS and path.with_suffix("") in pictures:
        return True
    return any(path.with_suffix(picture) in pictures for picture in PICTURES)
