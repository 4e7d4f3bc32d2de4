"""What a collection keeps of a decoded file beside its vector; worker processes import this, so nothing heavy."""

import hashlib
import io
from typing import Any

from PIL import Image

from .decode import Decoded
from .page_paths import mark_page

THUMBNAIL_SIDE = 240  # pixels of the longer side, at least, of a larger picture


def facts(content: bytes, decoded: Decoded) -> dict[str, Any]:
    """Hash, size, format, date and thumbnail of a file with these bytes, by the names of a catalog's columns."""
    return {
        "digest": mark_page(hashlib.sha256(content), decoded.page),
        "width": decoded.width,
        "height": decoded.height,
        "format": decoded.format,
        "taken": decoded.taken,
        "thumbnail": thumbnail(decoded.image),
    }


def thumbnail(image: Image.Image) -> bytes:
    """A JPEG of an RGB image, reduced by the whole number that leaves its longer side ``THUMBNAIL_SIDE`` or more.

    Averages of whole pixels are sharp and take a fifth of a resize's time; the longer side stays below twice as many.
    """
    factor = max(image.size) // THUMBNAIL_SIDE
    buffer = io.BytesIO()
    # a photo's own comment, which may be 64 KB, would be copied
    (image.reduce(factor) if factor > 1 else image).save(buffer, "JPEG", quality=75, comment=b"")
    return buffer.getvalue()
