"""Which pictures are too large to decode: checked by the size in the header, before any pixel is read."""

from PIL import Image

from ..core.memory import free_memory
from .image_error import ImageError

MAX_PIXELS = 200_000_000  # 800 MB decoded; larger files are refused (decompression bombs)
ALWAYS_PIXELS = 50_000_000  # size of cameras' pictures; larger ones are decoded only if there is enough memory
BYTES_PER_PIXEL = 16  # memory for decoding and converting: two copies of four bytes, in two processes

# Pillow's own limit warns first and raises at twice its value; check_size() is called before any pixel is read.
Image.MAX_IMAGE_PIXELS = None


def check_size(width: int, height: int) -> None:
    """Refuse a picture that is too large, by the size in its header.

    Args:
        width: Pixels.
        height: Pixels.

    Raises:
        ImageError: It is over the limit, or needs more memory than is free.
    """
    if width < 1 or height < 1:
        raise ImageError(f"damaged: {width} x {height} pixels")
    if width * height > MAX_PIXELS:
        raise ImageError(f"too large: {width} x {height} is over {MAX_PIXELS // 1_000_000} megapixels")
    if width * height > ALWAYS_PIXELS and width * height * BYTES_PER_PIXEL > free_memory():
        gigabytes = width * height * BYTES_PER_PIXEL / 1e9
        raise ImageError(f"too large: {width} x {height} takes {gigabytes:.1f} GB of memory to decode", lasting=False)
