"""The square that every encoder sees of a picture: centre crop, antialiased resampling."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .decoded_image import Decoded

LONG = 2.5  # length / width above which a picture counts as long; no camera's photo is that long, 21:9 included


def centre_square(image: Image.Image, size: int) -> Image.Image:
    """Crop the largest centred square and resample it with an antialiased bilinear filter.

    This is what every encoder sees at evaluation: short side resized to ``size``, centre crop. A picture whose long
    side is more than ``LONG`` times its short side (a panorama, a long screenshot) is squeezed into the square as a
    whole, because other pictures may show the same centre.

    Args:
        image: RGB.
        size: Side in pixels.

    Returns:
        RGB, (size, size).
    """
    width, height = image.size
    side = min(width, height)
    if max(width, height) > LONG * side:
        return image.resize((size, size), Image.Resampling.BILINEAR)
    left, top = (width - side) // 2, (height - side) // 2
    # crop first: resize(box=...) would let pixels outside the square bleed into its border
    square = image.crop((left, top, left + side, top + side))
    return square.resize((size, size), Image.Resampling.BILINEAR)


def centre_planes(planes: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Apply ``centre_square`` to each channel.

    Args:
        planes: uint8 (height, width, channels).
        size: Side in pixels.

    Returns:
        uint8 (size, size, channels).
    """
    parts = [Image.fromarray(np.ascontiguousarray(plane)) for plane in np.moveaxis(planes, 2, 0)]
    return np.stack([np.asarray(centre_square(part, size)) for part in parts], axis=2)


def square_of(decoded: Decoded, size: int) -> NDArray[np.uint8]:
    """Return what an encoder sees of a decoded file.

    Args:
        decoded: The decoded file.
        size: Side in pixels.

    Returns:
        uint8 (size, size, channels).
    """
    if decoded.planes is not None:
        return centre_planes(decoded.planes, size)
    return np.asarray(centre_square(decoded.image, size))
