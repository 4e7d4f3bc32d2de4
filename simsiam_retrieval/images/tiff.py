"""TIFF files that Pillow cannot read or reads wrongly, decoded by tifffile (extra ``scientific``)."""

import io
from typing import Any

import numpy as np
from PIL import Image

from .decoded_image import Decoded
from .image_error import ImageError
from .pillow_files import decode_opened
from .raw import decode_raw
from .reading import Reading
from .tiff_pages import find_page, taken
from .tiff_samples import read_bands, read_page
from .upright_rgb import as_decoded


def decode_tiff(
    content: bytes, short_side: int | None, reading: Reading, number: int = 1
) -> tuple[Decoded | None, int]:
    """Decode a TIFF that Pillow reads wrongly, or whose picture is not its first page.

    Args:
        content: The file.
        short_side: See ``decode.read_image``.
        reading: The range and the bands to take.
        number: Number of the page among those in full resolution, from 1 on.

    Returns:
        The decoded page, or None where Pillow reads the file correctly; and the number of pages in full resolution.

    Raises:
        ImageError: The page cannot be decoded, or there is none of this number.
    """
    found = find_page(content, number)
    if found is None:
        if number > 1:
            raise ImageError(f"has no page {number}, or is damaged")
        return None, 1
    opened, page = found
    with opened:
        if page.raw:
            return decode_raw(content, short_side), 1
        if reading.bands or reading.channels not in (1, 3):
            return _bands(page.page, len(content), short_side, reading), page.count
        if not page.plain or page.number < 0:
            image = read_page(page.page, len(content), reading)
            return as_decoded(
                image, image.width, image.height, "TIFF", short_side, _tag(page.page, 274), _icc(page.page)
            )._replace(taken=taken(page.page)), page.count
    if page.number == 0:
        return None, page.count  # Pillow reads it correctly
    with Image.open(io.BytesIO(content), formats=("TIFF",)) as image:
        image.seek(page.number)
        return decode_opened(image, short_side, content[:32], reading.range), page.count


def _bands(page: Any, size: int, short_side: int | None, reading: Reading) -> Decoded:
    """Chosen or all bands of a TIFF's page."""
    eight, colours = read_bands(page, size, reading)
    height, width = eight.shape[:2]
    shown = Image.fromarray(np.ascontiguousarray(eight[:, :, list(colours)]))
    turn = _tag(page, 274)
    decoded = as_decoded(shown, width, height, "TIFF", short_side, turn)._replace(taken=taken(page))
    if reading.is_rgb:
        return decoded
    planes = [
        as_decoded(Image.fromarray(eight[:, :, band]), width, height, "TIFF", short_side, turn, keep_grey=True).image
        for band in range(eight.shape[2])
    ]
    return decoded._replace(planes=np.stack([np.asarray(plane) for plane in planes], axis=2))


def _tag(page: Any, number: int) -> int:
    try:
        return int(page.tags[number].value)
    except (KeyError, TypeError, ValueError):
        return 1


def _icc(page: Any) -> bytes | None:
    try:
        return bytes(page.tags[34675].value)
    except (KeyError, TypeError, ValueError):
        return None
