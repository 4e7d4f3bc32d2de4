"""The only decoder of the package: any supported file -> an upright 8-bit RGB image, or the reason why not."""

import contextlib
import io
import warnings
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError

from ..core.memory import free_memory
from . import deep_jpegs, dicom, jpeg2000, jxl, portable_maps, raw, tiff
from .dicom_names import HEAD, is_dicom
from .metadata import date, exif, patched
from .page_paths import file_and_page
from .pngs import PngHeader, declared_range, significant_bits, sixteen_bit_colours
from .problems import ImageError as ImageError  # its home for everybody else
from .ranges import to_eight_bits
from .reading import AS_THEY_ARE, AUTO, Range, Reading

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
# versions of all decoders, stored with the verdict that a file is damaged: another version may read it
DECODER = ", ".join(
    f"{name} {version}"
    for name, version in (
        ("Pillow", PIL.__version__),
        ("pi-heif", pi_heif and pi_heif.__version__),
        ("imagecodecs", jxl.version()),
        ("tifffile", tiff.version()),
        ("pydicom", dicom.version()),
        ("rawpy", raw.version()),
    )
    if version
)
MAX_PIXELS = 200_000_000  # 800 MB decoded; larger files are refused (decompression bombs)
ALWAYS_PIXELS = 50_000_000  # size of cameras' pictures; larger ones are decoded only if there is enough memory
BYTES_PER_PIXEL = 16  # memory for decoding and converting: two copies of four bytes, in two processes
STRIP_PIXELS = 4_000_000  # larger pictures are reduced in strips of this size, to avoid a second large copy
FRAMES = 64  # frames of an animation that are searched for one that is not plain
PLAIN = 8  # a picture is plain if its darkest and brightest pixels differ by at most this many grey levels
LONG = 2.5  # length / width above which a picture counts as long; no camera's photo is that long, 21:9 included
SKETCH = 1024  # side in pixels of the reduced copy from which the background is chosen

# Pillow's own limit warns first and raises at twice its value; decode() applies its own before any pixel is read.
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


class Decoded(NamedTuple):
    """A decoded file.

    Attributes:
        image: RGB, upright. A JPEG may have a half, quarter or eighth of the stored size.
        width: Width of the whole picture, upright, in pixels.
        height: Height of the whole picture, upright, in pixels.
        format: Pillow's name: JPEG, PNG, ...
        taken: When it was taken, by the camera's clock, if EXIF has the date.
        mode: How the file stores its pixels, as Pillow names it (RGB, L, P, ...); "" where that is not known.
        planes: For an encoder of other channels than RGB: uint8 (height, width, channels), of the image's size.
        page: Number of the page of a TIFF, or of the frame of a DICOM file, that this is.
        pages: Number of pages in full resolution of a TIFF, or of frames of a DICOM file.
    """

    image: Image.Image
    width: int
    height: int
    format: str
    taken: datetime | None = None
    mode: str = ""
    planes: NDArray[np.uint8] | None = None
    page: int = 1
    pages: int = 1


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
    with _reasons(), warnings.catch_warnings():
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
        image, width, height, frames = dicom.read(file.read(), check_size, reading.range, page)
        return _as_decoded(image, width, height, "DICOM", short_side)._replace(pages=frames)
    page = page or 1  # only DICOM files tell their first frame from their own picture
    if head[:4] in tiff.MAGIC and reading.wants_bands and tiff.tifffile is None:
        raise ImageError(f"a TIFF, of which bands are chosen: {tiff.EXTRA}", lasting=False)
    pages = 1
    if head[:4] in tiff.MAGIC and tiff.tifffile is not None:
        found, pages = _by_tifffile(file.read(), short_side, reading, page)
        if found is not None:
            return found._replace(pages=pages)
        file.seek(start)
    elif page > 1:
        raise ImageError(f"has no page {page}")
    if jxl.is_jxl(head):
        image = jxl.read(file.read(), check_size, reading.range)
        return _as_decoded(image, image.width, image.height, "JXL", short_side)
    if raw.is_raw(head):
        return _raw(file.read(), short_side)
    file.seek(start)
    try:
        with Image.open(file, formats=FORMATS) as image:
            decoded = _decoded(image, short_side, head, reading.range)
            return decoded if pages == 1 else decoded._replace(pages=pages)
    except ImageError:
        raise
    except UnidentifiedImageError:
        if head[:4] in tiff.MAGIC and tiff.tifffile is None:
            raise ImageError(f"a TIFF that Pillow does not read: {tiff.EXTRA}", lasting=False) from None
        file.seek(start)
        found = deep_jpegs.read(file.read(), check_size, reading.range) if head[:2] == b"\xff\xd8" else None
        if found is None:
            raise
        return _as_decoded(found, found.width, found.height, "JPEG", short_side)
    # Pillow's decoders can raise almost any exception; if only metadata is damaged, read the file without it
    except Exception:
        file.seek(start)
        better = patched(file.read())
        if better is None:
            raise
        with Image.open(io.BytesIO(better), formats=FORMATS) as image:
            return _decoded(image, short_side, head, reading.range)._replace(pages=pages)


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


def _by_tifffile(content: bytes, short_side: int | None, reading: Reading, number: int) -> tuple[Decoded | None, int]:
    """Decode a TIFF that Pillow reads wrongly, or whose picture is not its first page; None for all others.

    Also returns how many pages in full resolution it has.
    """
    found = tiff.find_page(content, number)
    if found is None:
        if number > 1:
            raise ImageError(f"has no page {number}, or is damaged")
        return None, 1
    opened, page = found
    with opened:
        if page.raw:
            return _raw(content, short_side), 1
        if reading.bands or reading.channels not in (1, 3):
            return _bands(page.page, len(content), short_side, reading), page.count
        if not page.plain or page.number < 0:
            image = tiff.read_page(page.page, len(content), check_size, reading)
            return _as_decoded(
                image, image.width, image.height, "TIFF", short_side, _tag(page.page, 274), _icc(page.page)
            )._replace(taken=tiff.taken(page.page)), page.count
    if page.number == 0:
        return None, page.count  # Pillow reads it correctly
    with Image.open(io.BytesIO(content), formats=("TIFF",)) as image:
        image.seek(page.number)
        return _decoded(image, short_side, content[:32], reading.range), page.count


def _bands(page: Any, size: int, short_side: int | None, reading: Reading) -> Decoded:
    """Chosen or all bands of a TIFF's page."""
    eight, colours = tiff.read_bands(page, size, check_size, reading)
    height, width = eight.shape[:2]
    shown = Image.fromarray(np.ascontiguousarray(eight[:, :, list(colours)]))
    turn = _tag(page, 274)
    decoded = _as_decoded(shown, width, height, "TIFF", short_side, turn)._replace(taken=tiff.taken(page))
    if reading.is_rgb:
        return decoded
    planes = [
        _as_decoded(Image.fromarray(eight[:, :, band]), width, height, "TIFF", short_side, turn, keep_grey=True).image
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


def _as_decoded(
    image: Image.Image,
    width: int,
    height: int,
    file_format: str,
    short_side: int | None,
    orientation: int = 1,
    profile: bytes | None = None,
    *,
    keep_grey: bool = False,
) -> Decoded:
    """Reduce and turn the image of another reader like Pillow's own images."""
    if profile:
        image.info["icc_profile"] = profile
    factor = 1 if short_side is None or image.width * image.height <= STRIP_PIXELS else min(image.size) // short_side
    if keep_grey:
        rgb = image if factor <= 1 else image.reduce(factor)
    else:
        rgb = _to_rgb(image) if factor <= 1 else _reduced_rgb(image, factor)
    turn = _UPRIGHT.get(orientation)
    if orientation in _SIDEWAYS:
        width, height = height, width
    return Decoded(rgb if turn is None else rgb.transpose(turn), width, height, file_format)


def _raw(content: bytes, short_side: int | None) -> Decoded:
    picture, width, height, taken = raw.preview(content, check_size)
    if isinstance(picture, bytes):
        with Image.open(io.BytesIO(picture), formats=("JPEG",)) as image:
            decoded = _decoded(image, short_side, picture[:32])
            return decoded._replace(format="RAW", width=width, height=height, taken=decoded.taken or taken)
    return _as_decoded(picture, width, height, "RAW", short_side)._replace(taken=taken)


def upright_rgb(image: Image.Image) -> Image.Image:
    """Convert an opened Pillow image as ``read_image`` does: upright, 8-bit RGB, on white.

    Args:
        image: The image; Pillow may read its pixels only now.

    Returns:
        RGB, upright.

    Raises:
        ImageError: Its pixels are damaged.
    """
    with _reasons():
        return _upright_rgb(image)


@contextlib.contextmanager
def _reasons() -> Iterator[None]:
    """Turn every exception of a decoder into an ``ImageError``."""
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
        # errors of the operating system have a number, Pillow's own do not
        if error.errno and error.strerror:
            raise ImageError(error.strerror.lower(), lasting=False) from None
        raise ImageError(f"damaged: {_one_line(error)}") from None
    except MemoryError:
        raise ImageError("not enough memory to decode it", lasting=False) from None
    # on damaged input Pillow's decoders can raise almost any exception, for example struct.error and IndexError
    except Exception as error:  # noqa: BLE001
        raise ImageError(f"damaged: {_one_line(error)}") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _decoded(image: Image.Image, short_side: int | None, head: bytes = b"", wanted: Range = AUTO) -> Decoded:
    width, height = image.size
    mode = image.mode  # before draft() and conversions
    file_format = image.format or "unknown"
    check_size(width, height)
    if short_side is not None and image.format in ("JPEG", "MPO"):
        # draft() keeps both sides at or above the given size, so give a size with the picture's proportions
        short = min(width, height)
        image.draft(None, (-(-width * short_side // short), -(-height * short_side // short)))
    taken = None
    if file_format == "PNG" and (header := PngHeader.of(head)) is not None:
        if header.is_deep_colour:
            deep = sixteen_bit_colours(image, header, wanted)
            turn = exif(image).get(0x0112, 1)
            found = _as_decoded(deep, width, height, "PNG", short_side, turn, image.info.get("icc_profile"))
            return found._replace(taken=date(image))
        header.mend_key(image)
        if header.is_deep and isinstance(image, ImageFile.ImageFile) and image.fp is not None:
            image.info["significant_bits"] = significant_bits(image.fp)
    elif file_format in ("JPEG2000", "PPM") and isinstance(image, ImageFile.ImageFile):
        deep = _deep_colours(image, wanted)
        if deep is not None:
            return _as_decoded(deep, width, height, file_format, short_side, 1, image.info.get("icc_profile"))
    image.load()
    if getattr(image, "is_animated", False) and file_format not in ("TIFF", "MPO"):
        image = _first_not_plain(image)
    if exif(image).get(0x0112) in _SIDEWAYS:
        width, height = height, width
    taken = date(image)
    # deep greys are scaled by the range of the whole picture
    by_strips = short_side is not None and image.width * image.height > STRIP_PIXELS
    if _is_deep(image):
        image = _scale_grey(image, wanted)
    factor = min(image.size) // short_side if by_strips and short_side else 1
    return Decoded(_upright_rgb(image, max(1, factor)), width, height, file_format, taken, mode)


def _deep_colours(image: ImageFile.ImageFile, wanted: Range) -> Image.Image | None:
    """JPEG 2000 and PPM colours of more than 8 bits; of greys, the declared range is noted."""
    assert image.fp is not None
    if image.mode not in ("RGB", "RGBA", "I", "I;16"):
        return None
    if image.format == "PPM" and not _is_deep(image) and portable_maps.largest_value(image) < 65535:
        return None
    start = image.fp.tell()
    image.fp.seek(0)
    content = image.fp.read()
    image.fp.seek(start)
    if image.format == "PPM":
        if _is_deep(image) and portable_maps.largest_value(image) < 65535:
            image.info["significant_bits"] = 16  # Pillow scales them
        return portable_maps.sixteen_bit_colours(image, content, wanted)
    found = jpeg2000.components(content)
    if found is None:
        return None
    if _is_deep(image) and 8 < found.bits < 16:
        image.info["significant_bits"] = 16  # Pillow scales them
    return jpeg2000.deep_colours(content, found, wanted)


def _is_deep(image: Image.Image) -> bool:
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def _first_not_plain(image: Image.Image) -> Image.Image:
    """The first early frame of an animation that is not plain; the first frame if all are plain."""
    for number in range(min(getattr(image, "n_frames", 1), FRAMES)):
        image.seek(number)
        image.load()
        if not is_plain(image.convert("RGBA" if image.has_transparency_data else "RGB")):
            return image
    image.seek(0)
    image.load()
    return image


def is_plain(image: Image.Image) -> bool:
    """Return whether all pixels have the same colour, within ``PLAIN`` grey levels.

    Args:
        image: The image.

    Returns:
        True if they have.
    """
    extrema = image.getextrema()
    bands = extrema if isinstance(extrema[0], tuple) else (extrema,)
    return all(high - low <= PLAIN for low, high in bands)  # pyright: ignore[reportOperatorIssue, reportGeneralTypeIssues]


def _upright_rgb(image: Image.Image, factor: int = 1) -> Image.Image:
    turn = _UPRIGHT.get(exif(image).get(0x0112, 1))
    rgb = _to_rgb(image) if factor == 1 else _reduced_rgb(image, factor)
    upright = rgb if turn is None else rgb.transpose(turn)
    for key in ("exif", "xmp", "XML:com.adobe.xmp"):  # otherwise the next program would turn it again
        upright.info.pop(key, None)
    return upright


def _reduced_rgb(image: Image.Image, factor: int) -> Image.Image:
    """Convert to RGB and average each ``factor`` x ``factor`` pixels to one."""
    small = Image.new("RGB", (-(-image.width // factor), -(-image.height // factor)))
    background = _background(image)
    rows = max(1, STRIP_PIXELS // image.width // factor) * factor
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        small.paste(_to_rgb(strip, background).reduce(factor), (0, top // factor))
    return small


def _background(image: Image.Image) -> str | None:
    """Background for transparent pixels: white; black if nothing would show on white; None to ignore alpha."""
    if not image.has_transparency_data:
        return "white"
    if max(image.size) > SKETCH:  # a small copy is enough for this decision
        small = (max(1, min(SKETCH, image.width)), max(1, min(SKETCH, image.height)))
        image = image.resize(small, Image.Resampling.NEAREST)
    rgba = image.convert("RGBA")
    alpha = rgba.getchannel("A")
    low, high = alpha.getextrema()
    if high == 0:
        return None  # some programs leave the fourth byte of a pixel empty
    if low == high or not is_plain(_over(rgba, "white")) or is_plain(_over(rgba, "black")):
        return "white"
    return "black"


def _over(rgba: Image.Image, background: str) -> Image.Image:
    below = Image.new("RGB", rgba.size, background)
    below.paste(rgba.convert("RGB"), mask=rgba.getchannel("A"))
    return below


def _to_rgb(image: Image.Image, background: str | None = "") -> Image.Image:
    profile = image.info.get("icc_profile")
    alpha = None
    if _is_deep(image):
        image = _scale_grey(image)
    if image.has_transparency_data:
        background = _background(image) if background == "" else background
        rgba = image.convert("RGBA")
        alpha, image = rgba.getchannel("A") if background else None, rgba.convert("RGB")
    elif image.mode == "P":
        image = image.convert("RGB")  # a profile applies to colours, not to palette indices
    if profile and image.mode in ("RGB", "L", "CMYK"):
        image = _to_srgb(image, profile)
    rgb = image.convert("RGB")
    if alpha is not None:
        below = Image.new("RGB", rgb.size, background or "white")
        below.paste(rgb, mask=alpha)
        return below
    return rgb


def _scale_grey(image: Image.Image, wanted: Range = AUTO) -> Image.Image:
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
    inverted = tags.get(262) == tiff.MIN_IS_WHITE
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


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    try:
        embedded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(embedded):
            return image
        converted = ImageCms.profileToProfile(image, embedded, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image  # broken profiles are common; the picture is used without it
    return converted if converted is not None else image


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
