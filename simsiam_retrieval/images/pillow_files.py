"""Files that Pillow reads: JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, JPEG 2000, PPM, and HEIC through pi-heif."""

import io
from typing import BinaryIO

from PIL import Image, ImageFile, JpegImagePlugin, TiffImagePlugin, UnidentifiedImageError

from . import jpeg2000, portable_maps, tiff_pages
from .decoded_image import Decoded
from .deep_grey import is_deep_grey, scale_grey
from .image_error import ImageError
from .metadata import date, exif, patched
from .plain_images import first_not_plain
from .pngs import PngHeader, significant_bits, sixteen_bit_colours
from .reading import AUTO, Range
from .size_limits import check_size
from .tiff_layout import is_read_by_pillow
from .upright_rgb import SIDEWAYS, as_decoded, reduction, to_upright_rgb

try:
    import pi_heif
except ImportError:  # no wheel for this platform: HEIC files are then reported as undecodable
    pi_heif = None
else:
    pi_heif.register_heif_opener()

# no "MPO" (JPEG with several pictures): the JPEG plugin opens it, and Pillow raises an error for the name
FORMATS = (
    *("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "JPEG2000", "PPM"),
    *(("HEIF",) if pi_heif else ()),
)

BLOCK = 1 << 20  # bytes of a JPEG given to its decoder at once; with Pillow's 64 KiB it stops and starts again: 3 %


def decode_with_pillow(file: BinaryIO, short_side: int | None, head: bytes, wanted: Range = AUTO) -> Decoded:
    """Decode a file; if only its metadata is damaged, without them.

    Args:
        file: The file, at its beginning.
        short_side: See ``decode.read_image``.
        head: First bytes of the file.
        wanted: Range of samples of more than 8 bits.

    Returns:
        The decoded file.

    Raises:
        ImageError: It is too large.
        UnidentifiedImageError: Pillow does not know the format.
    """
    start = file.tell()
    try:
        with Image.open(file, formats=FORMATS) as image:
            return decode_opened(image, short_side, head, wanted)
    except (ImageError, UnidentifiedImageError):
        raise
    # Pillow's decoders can raise almost any exception; if only metadata is damaged, read the file without it
    except Exception:
        file.seek(start)
        better = patched(file.read())
        if better is None:
            raise
        with Image.open(io.BytesIO(better), formats=FORMATS) as image:
            return decode_opened(image, short_side, head, wanted)


def decode_opened(image: Image.Image, short_side: int | None, head: bytes = b"", wanted: Range = AUTO) -> Decoded:
    """Decode an image that Pillow opened.

    Args:
        image: The image; its pixels are not read yet.
        short_side: See ``decode.read_image``.
        head: First bytes of the file, at least 26 of a PNG.
        wanted: Range of samples of more than 8 bits.

    Returns:
        The decoded file.

    Raises:
        ImageError: It is too large.
    """
    width, height = image.size
    mode = image.mode  # before draft() and conversions
    file_format = image.format or "unknown"
    check_size(width, height)
    is_tiff = isinstance(image, TiffImagePlugin.TiffImageFile)
    if is_tiff and tiff_pages.tifffile is None and not _is_right(image.tag_v2):
        raise ImageError(f"a TIFF that Pillow does not read: {tiff_pages.EXTRA}", lasting=False)
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        image.decodermaxblock = BLOCK
    if short_side is not None and image.format in ("JPEG", "MPO"):
        # draft() keeps both sides at or above the given size, so give a size with the picture's proportions
        short = min(width, height)
        image.draft(None, (-(-width * short_side // short), -(-height * short_side // short)))
    taken = None
    if file_format == "PNG" and (header := PngHeader.of(head)) is not None:
        if header.is_deep_colour:
            deep = sixteen_bit_colours(image, header, wanted)
            turn = exif(image).get(0x0112, 1)
            found = as_decoded(deep, width, height, "PNG", short_side, turn, image.info.get("icc_profile"))
            return found._replace(taken=date(image))
        header.mend_key(image)
        if header.is_deep and isinstance(image, ImageFile.ImageFile) and image.fp is not None:
            image.info["significant_bits"] = significant_bits(image.fp)
    elif file_format in ("JPEG2000", "PPM") and isinstance(image, ImageFile.ImageFile):
        deep = _deep_colours(image, wanted)
        if deep is not None:
            return as_decoded(deep, width, height, file_format, short_side, 1, image.info.get("icc_profile"))
    if file_format == "JPEG2000" and isinstance(image, ImageFile.ImageFile):
        content = _content(image)  # before load(), which closes the file
        image.load()
        image = jpeg2000.in_stored_order(image, content)
    image.load()
    if getattr(image, "is_animated", False) and file_format not in ("TIFF", "MPO"):
        image = first_not_plain(image)
    if exif(image).get(0x0112) in SIDEWAYS:
        width, height = height, width
    taken = date(image)
    if is_deep_grey(image):  # by the range of the whole picture, so before it is reduced
        image = scale_grey(image, wanted)
    return Decoded(to_upright_rgb(image, reduction(image, short_side)), width, height, file_format, taken, mode)


def _is_right(tags: TiffImagePlugin.ImageFileDirectory_v2) -> bool:
    return is_read_by_pillow(tags, big_endian=tags.prefix == b"MM")


def _content(image: ImageFile.ImageFile) -> bytes:
    """The whole file of an opened picture."""
    assert image.fp is not None
    start = image.fp.tell()
    image.fp.seek(0)
    content = image.fp.read()
    image.fp.seek(start)
    return content


def _deep_colours(image: ImageFile.ImageFile, wanted: Range) -> Image.Image | None:
    """JPEG 2000 and PPM colours of more than 8 bits; of greys, the declared range is noted."""
    if image.mode not in ("RGB", "RGBA", "I", "I;16"):
        return None
    if image.format == "PPM" and not is_deep_grey(image) and portable_maps.largest_value(image) < 65535:
        return None
    content = _content(image)
    if image.format == "PPM":
        if is_deep_grey(image) and portable_maps.largest_value(image) < 65535:
            image.info["significant_bits"] = 16  # Pillow scales them
        return portable_maps.sixteen_bit_colours(image, content, wanted)
    found = jpeg2000.components(content)
    if found is None:
        return None
    if is_deep_grey(image) and 8 < found.bits < 16:
        image.info["significant_bits"] = 16  # Pillow scales them
    return jpeg2000.deep_colours(content, found, wanted)
