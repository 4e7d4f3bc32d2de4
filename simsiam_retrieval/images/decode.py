"""The only decoder of the package: any supported file -> an upright 8-bit RGB image, or the reason why not.

This module recognises the format and hands the file to its reader: ``pillow_files.py``, ``tiff.py``, ``dicom.py``,
``jxl.py`` or ``raw.py``.
"""

import contextlib
import io
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from . import deep_jpegs, dicom, jxl, raw, tiff_pages
from .centre_crop import LONG as LONG  # the first home of these names; others import them from here
from .centre_crop import centre_planes as centre_planes
from .centre_crop import centre_square as centre_square
from .centre_crop import square_of as square_of
from .decoded_image import Decoded as Decoded
from .dicom_names import HEAD, is_dicom
from .image_error import ImageError as ImageError
from .image_error import as_image_errors
from .page_paths import file_and_page
from .pillow_files import FORMATS as FORMATS
from .pillow_files import decode_with_pillow
from .reading import AS_THEY_ARE, Reading
from .tiff import decode_tiff
from .upright_rgb import as_decoded, to_upright_rgb


def decode(
    source: Path | BinaryIO | bytes, short_side: int | None = None, reading: Reading = AS_THEY_ARE
) -> Image.Image:
    """Decode a file; like ``read_image``, without the facts about the file.

    Args:
        source: Path, open file or bytes.
        short_side: See ``read_image``.
        reading: See ``read_image``.

    Returns:
        RGB, upright.

    Raises:
        ImageError: The file cannot be decoded.
    """
    return read_image(source, short_side, reading).image


def read_image(
    source: Path | BinaryIO | bytes, short_side: int | None = None, reading: Reading = AS_THEY_ARE, page: int = 1
) -> Decoded:
    """Decode a file to an RGB image as a viewer would show it.

    - EXIF orientation is applied, and an embedded colour profile is converted to sRGB.
    - Transparent pixels are put on white, or on black if nothing would be visible on white.
    - Samples of more than 8 bits are scaled by the range that is used (``ranges.py``).
    - Of an animation, the first frame that is not plain is used.

    Args:
        source: Path, open file or bytes.
        short_side: A hint that saves time and memory for large pictures. JPEGs may be decoded at a half, quarter or
            eighth of their size, other large pictures may be reduced by a whole number. The short side keeps at least
            this many pixels.
        reading: The range and the bands to take. If its channels are not RGB, ``planes`` has them, and ``image`` is a
            picture for people.
        page: Number of the page of a TIFF, from 1 on, or of a DICOM file's frame; 1 is the file's own picture. A path
            may name it, too (``page_paths.py``).

    Returns:
        The image and its size, format and date.

    Raises:
        ImageError: The file cannot be decoded.
    """
    if isinstance(source, bytes):
        if not source:
            raise ImageError("an empty file, not an image")
        source = io.BytesIO(source)
    elif isinstance(source, Path):
        source, page = file_and_page(source, page)
    if isinstance(source, Path) and source.exists() and not source.is_file():
        raise ImageError("a folder" if source.is_dir() else "not a regular file")  # a FIFO would block
    with as_image_errors(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about odd metadata; only the pixels matter
        with source.open("rb") if isinstance(source, Path) else contextlib.nullcontext(source) as file:
            decoded = _read(file, short_side, reading, page)
            if page != 1:
                decoded = decoded._replace(page=page)
            return decoded if reading.is_rgb else _with_planes(decoded, reading)


def _with_planes(decoded: Decoded, reading: Reading) -> Decoded:
    if decoded.planes is not None:
        return decoded
    if reading.channels == 1:
        return decoded._replace(planes=np.asarray(decoded.image.convert("L"))[:, :, None])
    raise ImageError(f"has red, green and blue, and the encoder takes {reading.channels} bands, of TIFF files")


def _read(file: BinaryIO, short_side: int | None, reading: Reading, page: int) -> Decoded:
    start = file.tell()
    head = file.read(HEAD)
    file.seek(start)
    if is_dicom(head):  # before TIFF: a DICOM file may begin as one
        image, width, height, frames = dicom.read(file.read(), reading.range, page)
        return as_decoded(image, width, height, "DICOM", short_side)._replace(pages=frames)
    page = page or 1  # only DICOM files tell their first frame from their own picture
    is_tiff, pages = head[:4] in tiff_pages.MAGIC, 1
    if is_tiff and reading.wants_bands and tiff_pages.tifffile is None:
        raise ImageError(f"a TIFF, of which bands are chosen: {tiff_pages.EXTRA}", lasting=False)
    if is_tiff and tiff_pages.tifffile is not None:
        found, pages = decode_tiff(file.read(), short_side, reading, page)
        if found is not None:
            return found._replace(pages=pages)
        file.seek(start)
    elif page > 1:
        raise ImageError(f"has no page {page}")
    if jxl.is_jxl(head):
        image = jxl.read(file.read(), reading.range)
        return as_decoded(image, image.width, image.height, "JXL", short_side)
    if raw.is_raw(head):
        return raw.decode_raw(file.read(), short_side)
    try:
        decoded = decode_with_pillow(file, short_side, head, reading.range)
        return decoded if pages == 1 else decoded._replace(pages=pages)
    except UnidentifiedImageError:
        if is_tiff and tiff_pages.tifffile is None:
            raise ImageError(f"a TIFF that Pillow does not read: {tiff_pages.EXTRA}", lasting=False) from None
        file.seek(start)
        image = deep_jpegs.read(file.read(), reading.range) if head[:2] == b"\xff\xd8" else None
        if image is None:
            raise
        return as_decoded(image, image.width, image.height, "JPEG", short_side)


def upright_rgb(image: Image.Image) -> Image.Image:
    """Convert an opened Pillow image as ``read_image`` does: upright, 8-bit RGB, on white.

    Args:
        image: The image; Pillow may read its pixels only now.

    Returns:
        RGB, upright.

    Raises:
        ImageError: Its pixels are damaged.
    """
    with as_image_errors():
        return to_upright_rgb(image)
