"""Files that belong to a picture in the same folder: sidecars with edits, and the clip of a live photo."""

from collections.abc import Container
from pathlib import Path

SIDECARS = frozenset((".xmp", ".aae", ".thm", ".json", ".pp3", ".dop", ".txt"))
CLIPS = frozenset((".mov", ".mp4", ".m4v"))
PICTURES = (".heic", ".HEIC", ".jpg", ".JPG", ".jpeg", ".JPEG", ".png", ".PNG", ".dng", ".DNG", ".webp", ".avif")


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
