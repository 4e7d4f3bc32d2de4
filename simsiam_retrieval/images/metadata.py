"""Reading metadata so that damaged metadata never prevents reading the picture."""

import io
import re
from datetime import datetime

import numpy as np
from PIL import ExifTags, Image

_DATE = re.compile(r"(\d{4})[:\-/.](\d{1,2})[:\-/.](\d{1,2})(?:[T ]+(\d{1,2}):(\d{1,2})(?::(\d{1,2}))?)?")
# chunks without pixels; they are removed only if the file cannot be read with them
_TEXT = (b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"tIME", b"iCCP")


def exif(image: Image.Image) -> Image.Exif:
    """Read an image's EXIF data.

    Args:
        image: An opened image.

    Returns:
        The data; empty if they cannot be read.
    """
    try:
        return image.getexif()
    except Exception:  # noqa: BLE001  # Pillow's parser can raise almost any exception
        return Image.Exif()


def date(image: Image.Image) -> datetime | None:
    """Read when a picture was taken (otherwise digitised), by the camera's clock.

    Args:
        image: An opened image.

    Returns:
        The time; None if EXIF has none.
    """
    try:
        tags = exif(image).get_ifd(ExifTags.IFD.Exif)
    except Exception:  # noqa: BLE001
        return None
    if not tags:
        return None
    for tag in (ExifTags.Base.DateTimeOriginal, ExifTags.Base.DateTimeDigitized):
        try:
            found = parse_date(str(tags.get(tag) or ""))
        except Exception:  # noqa: BLE001
            continue
        if found is not None:
            return found
    return None


def parse_date(text: str) -> datetime | None:
    """Parse a date as cameras and programs write it.

    Accepts EXIF's colons, ISO 8601, fractions of seconds, a time zone, or a day without a time.

    Args:
        text: The date.

    Returns:
        The time; None if it is no date.
    """
    match = _DATE.match(text.strip("\0 \t\r\n"))
    if match is None:
        return None
    try:
        return datetime(*(int(part or 0) for part in match.groups()))  # pyright: ignore[reportArgumentType]
    except ValueError:  # zeros, a 31st of June
        return None


def patched(content: bytes) -> bytes | None:
    """Repair a file whose metadata stopped the decoder.

    Args:
        content: The file.

    Returns:
        The same picture without that metadata; None if something else is wrong.
    """
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return _without_text(content)
    if content.startswith(b"\xff\xd8"):
        return _with_end_marker(content)
    return None


def _without_text(content: bytes) -> bytes | None:
    kept, place, dropped = [content[:8]], 8, False
    while place + 12 <= len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        chunk = content[place : place + 12 + length]
        if chunk[4:8] in _TEXT:
            dropped = True
        else:
            kept.append(chunk)
        place += len(chunk)
    return b"".join(kept) if dropped else None


def _with_end_marker(content: bytes) -> bytes | None:
    """Add a missing end marker to a JPEG; None if a part of the picture is missing.

    If all pixels are there, bytes after them change nothing. If pixels are missing, the added bytes change the picture.
    """
    end = b"\xff\xd9"
    pictures = [_pixels(content + filling + end) for filling in (b"", b"\x00" * 64, b"\x55\xaa" * 32)]
    if pictures[0] is None or any(p is None or not np.array_equal(p, pictures[0]) for p in pictures[1:]):
        return None
    return content + end


def _pixels(content: bytes) -> np.ndarray | None:
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
            return np.asarray(image)
    except Exception:  # noqa: BLE001
        return None
