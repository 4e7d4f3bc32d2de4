"""What a collection keeps of a decoded file beside its vector; worker processes import this, so nothing heavy."""

import hashlib
import io
from typing import Any

from PIL import Image

from .decode import Decoded
from .measures import measure

THUMBNAIL_SIDE = 240  # pixels of the longer side, at least, of a larger picture


def facts(content: bytes, decoded: Decoded) -> dict[str, Any]:
    """What a catalog's entry takes of a file with these bytes: hash, size, format, date, thumbnail and measures."""
    small = reduced(decoded.image)
    return {
        "digest": hashlib.sha256(content).digest(),
        "width": decoded.width,
        "height": decoded.height,
        "format": decoded.format,
        "taken": decoded.taken,
        "thumbnail": _jpeg(small),
        "measures": measure(small, decoded.mode),
    }


def thumbnail(image: Image.Image) -> bytes:
    """A JPEG of an RGB image, as large as :func:`reduced` makes it."""
    return _jpeg(reduced(image))


def reduced(image: Image.Image) -> Image.Image:
    """An image reduced by the whole number that leaves its longer side ``THUMBNAIL_SIDE`` or more.

    Averages of whole pixels are sharp and take a fifth of a resize's time; the longer side stays below twice as many.
    """
    factor = max(image.size) // THUMBNAIL_SIDE
    return image.reduce(factor) if factor > 1 else image


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    # a photo's own comment, which may be 64 KB, would be copied
    image.save(buffer, "JPEG", quality=75, comment=b"")
    return buffer.getvalue()
