"""PGM and PPM files of more than 8 bits: their largest value, and colours that Pillow would cut down to 8 bits."""

import numpy as np
from PIL import Image, ImageFile

from .ranges import to_eight_bits
from .reading import AUTO, Range


def largest_value(image: ImageFile.ImageFile) -> int:
    """Return the value of white that the header declares.

    Args:
        image: The image as Pillow opened it, not yet loaded.

    Returns:
        The value; 65535 says nothing, as it is only the container's.
    """
    arguments = image.tile[0].args if image.tile else None
    return arguments[1] if isinstance(arguments, tuple) and len(arguments) == 2 else 65535


def sixteen_bit_colours(image: ImageFile.ImageFile, content: bytes, wanted: Range = AUTO) -> Image.Image | None:
    """Read binary colours whose samples have 16 bits and no declared range.

    Args:
        image: The image as Pillow opened it, not yet loaded.
        content: The file.
        wanted: See ``ranges.to_eight_bits``.

    Returns:
        RGB, 8 bits; None if Pillow reads the file as well.
    """
    if image.mode != "RGB" or not image.tile or image.tile[0].args != ("RGB", 65535) or content[:2] != b"P6":
        return None
    count = image.width * image.height * 3
    start = image.tile[0].offset
    if len(content) < start + 2 * count:
        return None  # Pillow says what is missing
    values = np.frombuffer(content, ">u2", count, start).reshape(image.height, image.width, 3)
    return Image.fromarray(to_eight_bits(values.astype(np.uint16), wanted=wanted)[0])
