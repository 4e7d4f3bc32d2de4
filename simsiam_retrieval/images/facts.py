"""What a collection keeps of a decoded file beside its vector; worker processes import this, so nothing heavy."""

import hashlib
import io
from typing import Any

from PIL import Image

from .decode import Decoded

THUMBNAIL_SIDE = 256  # pixels, of the longer side


def facts(content: bytes, decoded: Decoded) -> dict[str, Any]:
    """Hash, size, format, date and thumbnail of a file with these bytes, by the names of a catalog's columns."""
    return {
        "digest": hashlib.sha256(content).digest(),
        "width": decoded.width,
        "height": decoded.height,
        "format": decoded.format,
        "taken": decoded.taken,
        "thumbnail": thumbnail(decoded.image),
    }


def thumbnail(image: Image.Image) -> bytes:
    """A JPEG of an RGB image, its longer side at most ``THUMBNAIL_SIDE``."""
    scale = THUMBNAIL_SIDE / max(image.size)
    if scale < 1:  # not thumbnail(): it works in place, so the picture would have to be copied
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.HAMMING, reducing_gap=2)  # bilinear is as fast and blurs
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()
