"""The one safe decoder: any supported file to an upright 8-bit RGB image, or a reason why not."""

import contextlib
import io
import warnings
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import PIL
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from ..machine import free_memory

try:
    import pi_heif
except ImportError:  # no wheel for this platform: HEIC files are then reported as undecodable
    pi_heif = None
else:
    pi_heif.register_heif_opener()

# "MPO" (phones' several-pictures JPEG) is opened by the JPEG plugin; a name Pillow does not know would be an error
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", *(("HEIF",) if pi_heif else ()))
# who says that a file is damaged: another version may read it
DECODER = f"Pillow {PIL.__version__}" + (f", pi-heif {pi_heif.__version__}" if pi_heif else "")
MAX_PIXELS = 200_000_000  # 800 MB decoded; more is a decompression bomb or a job for a tiler
ALWAYS_PIXELS = 50_000_000  # a camera's; larger ones only where there is memory for them
BYTES_PER_PIXEL = 16  # while it is decoded and converted: two copies of four bytes, and another process's
STRIP_PIXELS = 4_000_000  # larger pictures are made small in strips of so many pixels, without a second large copy

# Pillow's own limit would warn and then raise at twice that; decode() applies ours before any pixel is read.
Image.MAX_IMAGE_PIXELS = None


# EXIF orientation (tag 0x0112) -> the operation that makes the picture upright
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_SIDEWAYS = (5, 6, 7, 8)


class ImageError(Exception):
    """A file that cannot be used; the message is the reason, fit for a report."""

    def __init__(self, reason: str, *, lasting: bool = True) -> None:
        """``lasting`` is False where the same bytes may well be decoded another time."""
        super().__init__(reason)
        self.lasting = lasting


class Decoded(NamedTuple):
    """A decoded file."""

    image: Image.Image  # RGB, upright; for a JPEG perhaps a half, quarter or eighth of the stored size
    width: int  # of the whole picture, upright, in pixels
    height: int
    format: str  # as Pillow names it: JPEG, PNG, ...
    taken: datetime | None = None  # by the camera's clock, where EXIF says so


def decode(source: Path | BinaryIO | bytes, short_side: int | None = None) -> Image.Image:
    """The image of :func:`read_image`, without the facts about its file."""
    return read_image(source, short_side).image


def read_image(source: Path | BinaryIO | bytes, short_side: int | None = None) -> Decoded:
    """Decode a file to an RGB image as a viewer would show it.

    EXIF orientation is applied, an embedded colour profile is converted to sRGB, transparency goes over white,
    16-bit and float greys are scaled to 8 bits, of an animation the first frame counts.

    ``short_side`` is a hint: JPEGs may be decoded at a half, quarter or eighth of their size as long as the short
    side keeps at least that many pixels. It saves most of the time for large photos. Other large pictures are
    reduced by a whole number, within the same limit, which saves most of the memory.

    Raises :class:`ImageError` for everything that keeps a file from being decoded.
    """
    if isinstance(source, bytes):
        if not source:
            raise ImageError("an empty file, not an image")
        source = io.BytesIO(source)
    elif isinstance(source, Path) and source.exists() and not source.is_file():
        raise ImageError("a folder" if source.is_dir() else "not a regular file")  # a FIFO would block
    with _reasons(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata; the pixels are what counts
        with Image.open(source, formats=FORMATS) as image:
            return _decoded(image, short_side)


def upright_rgb(image: Image.Image) -> Image.Image:
    """An image that somebody else opened, as :func:`read_image` would give it: upright, 8-bit RGB, over white.

    Raises :class:`ImageError` when its pixels, which Pillow may read only now, are damaged.
    """
    with _reasons():
        return _upright_rgb(image)


@contextlib.contextmanager
def _reasons() -> Iterator[None]:
    """Turn whatever a decoder raises into an :class:`ImageError`."""
    try:
        yield
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError("not an image, or a format that is not supported") from None
    except FileNotFoundError:
        raise ImageError("the file is gone", lasting=False) from None
    except PermissionError:
        raise ImageError("no permission to read it", lasting=False) from None
    except OSError as error:
        # Pillow's own complaints carry no number, the system's do
        if error.errno and error.strerror:
            raise ImageError(error.strerror.lower(), lasting=False) from None
        raise ImageError(f"damaged: {_one_line(error)}") from None
    except MemoryError:
        raise ImageError("not enough memory to decode it", lasting=False) from None
    # Pillow's decoders raise nearly anything on damaged input, struct.error and IndexError among them.
    except Exception as error:  # noqa: BLE001
        raise ImageError(f"damaged: {_one_line(error)}") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _decoded(image: Image.Image, short_side: int | None) -> Decoded:
    width, height = image.size
    file_format = image.format or "unknown"
    if width * height > MAX_PIXELS:
        raise ImageError(f"too large: {width} x {height} is over {MAX_PIXELS // 1_000_000} megapixels")
    if width * height > ALWAYS_PIXELS and width * height * BYTES_PER_PIXEL > free_memory():
        gigabytes = width * height * BYTES_PER_PIXEL / 1e9
        raise ImageError(f"too large: {width} x {height} takes {gigabytes:.1f} GB of memory to decode", lasting=False)
    if short_side is not None and image.format in ("JPEG", "MPO"):
        # draft() keeps both sides at or above the size asked for, so ask for the whole picture in proportion
        short = min(width, height)
        image.draft(None, (-(-width * short_side // short), -(-height * short_side // short)))
    image.load()
    if image.getexif().get(0x0112) in _SIDEWAYS:
        width, height = height, width
    # 32-bit greys are scaled by the darkest and the brightest pixel of the whole picture
    by_strips = short_side is not None and image.width * image.height > STRIP_PIXELS and image.mode not in ("I", "F")
    factor = min(image.size) // short_side if by_strips and short_side else 1
    return Decoded(_upright_rgb(image, max(1, factor)), width, height, file_format, _taken(image))


def _taken(image: Image.Image) -> datetime | None:
    try:
        exif = image.getexif().get_ifd(ExifTags.IFD.Exif)
        stamp = exif.get(ExifTags.Base.DateTimeOriginal) or exif.get(ExifTags.Base.DateTimeDigitized)
        return datetime.strptime(str(stamp).strip("\0 "), "%Y:%m:%d %H:%M:%S") if stamp else None
    except Exception:  # noqa: BLE001  # Pillow's parser raises nearly anything; odd metadata is no reason to lose a picture
        return None


def _upright_rgb(image: Image.Image, factor: int = 1) -> Image.Image:
    turn = _UPRIGHT.get(image.getexif().get(0x0112, 1))
    rgb = _to_rgb(image) if factor == 1 else _reduced_rgb(image, factor)
    upright = rgb if turn is None else rgb.transpose(turn)
    for key in ("exif", "xmp", "XML:com.adobe.xmp"):  # or whoever takes it further would turn it again
        upright.info.pop(key, None)
    return upright


def _reduced_rgb(image: Image.Image, factor: int) -> Image.Image:
    """The image in RGB, each ``factor`` x ``factor`` pixels averaged to one."""
    small = Image.new("RGB", (-(-image.width // factor), -(-image.height // factor)))
    rows = max(1, STRIP_PIXELS // image.width // factor) * factor
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        small.paste(_to_rgb(strip).reduce(factor), (0, top // factor))
    return small


def _to_rgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    alpha = None
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _scale_grey(image)
    elif image.has_transparency_data:
        rgba = image.convert("RGBA")
        alpha, image = rgba.getchannel("A"), rgba.convert("RGB")
    elif image.mode == "P":
        image = image.convert("RGB")  # a profile speaks of colours, not of palette indices
    if profile and image.mode in ("RGB", "L", "CMYK"):
        image = _to_srgb(image, profile)
    rgb = image.convert("RGB")
    if alpha is not None:
        white = Image.new("RGB", rgb.size, "white")
        white.paste(rgb, mask=alpha)
        return white
    return rgb


def _scale_grey(image: Image.Image) -> Image.Image:
    grey = np.asarray(image, dtype=np.float32)
    if image.mode.startswith("I;16") or (image.mode == "I" and 255 < grey.max(initial=0) < 65536):
        return Image.fromarray((grey / 257).round().astype(np.uint8))
    low, high = (
        float(np.nanmin(grey)),
        float(np.nanmax(grey)),
    )  # no fixed range: show it from darkest to brightest
    span = high - low if high > low else 1.0
    return Image.fromarray(np.nan_to_num((grey - low) * (255 / span)).round().astype(np.uint8))


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    try:
        embedded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(embedded):
            return image
        converted = ImageCms.profileToProfile(image, embedded, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image  # a broken profile is common and never a reason to lose the picture
    return converted if converted is not None else image


def centre_square(image: Image.Image, size: int) -> Image.Image:
    """The largest centred square of an RGB image, resampled to (size, size) with an antialiased bilinear filter.

    This is the geometry every encoder sees at evaluation: short side to ``size``, centre crop.
    """
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    # crop first: resize(box=...) would let pixels outside the square bleed into its border
    square = image.crop((left, top, left + side, top + side))
    return square.resize((size, size), Image.Resampling.BILINEAR)
