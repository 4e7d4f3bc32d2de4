"""Pillow images with grey samples of more than 8 bits, scaled to 8 bits."""

import numpy as np
from PIL import Image

from .metadata import exif
from .pngs import declared_range
from .ranges import to_eight_bits
from .reading import AUTO, Range
from .tiff_layout import MIN_IS_WHITE


def is_deep_grey(image: Image.Image) -> bool:
    """Return whether a Pillow image has grey samples of more than 8 bits.

    Args:
        image: The image.

    Returns:
        True for the modes I, I;16 and F.
    """
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def scale_grey(image: Image.Image, wanted: Range = AUTO) -> Image.Image:
    """Scale deep grey samples to 8 bits by the range that is used.

    Args:
        image: Of a mode for which ``is_deep_grey`` is true. Tags of a TIFF may declare its range and a no-data value.
        wanted: See ``ranges.to_eight_bits``.

    Returns:
        Mode L; LA if some pixels are transparent.
    """
    tags = getattr(image, "tag_v2", {})
    declared = None
    if 281 in tags and 280 in tags and tags[281] > tags[280] and tags[281] not in (65535, 4294967295):
        declared = (float(tags[280]), float(tags[281]))
    try:
        no_data = float(str(tags[42113]).strip("\0 ")) if 42113 in tags else None
    except ValueError:
        no_data = None
    key = image.info.get("transparency")
    no_data = float(key) if no_data is None and isinstance(key, int) else no_data
    inverted = tags.get(262) == MIN_IS_WHITE
    values = np.asarray(image)
    if getattr(image, "format", None) == "PPM" and image.mode == "I":  # 16 unsigned bits, in 32
        values = values.astype(np.uint16)
    declared = declared or declared_range(values, image.info.get("significant_bits"))
    eight, valid = to_eight_bits(values, declared=declared, no_data=no_data, inverted=inverted, wanted=wanted)
    scaled = Image.fromarray(eight)
    if valid is not None and isinstance(key, int):  # transparent, which is no lack of a measurement
        scaled = Image.merge("LA", (scaled, Image.fromarray(valid.astype(np.uint8) * np.uint8(255))))
    scaled.info.update({name: value for name, value in image.info.items() if name != "transparency"})
    if hasattr(image, "getexif"):
        scaled.getexif()[0x0112] = exif(image).get(0x0112, 1)
    return scaled
