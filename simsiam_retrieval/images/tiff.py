"""TIFF files that Pillow cannot read or reads wrongly, read by tifffile (extra ``scientific``)."""

import importlib.metadata
import io
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..core.memory import free_memory
from .metadata import parse_date
from .page_paths import MOST_PAGES
from .problems import ImageError
from .ranges import to_eight_bits
from .reading import AS_THEY_ARE, AUTO, Reading, band_text

try:
    import tifffile
except ImportError:
    tifffile = None
else:
    logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)  # the report gives the reason, once

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
EXTRA = "pip install 'simsiam-retrieval[scientific]'"
PAGES = 64  # pages that are searched for the picture in full resolution
MIN_IS_WHITE, MIN_IS_BLACK, RGB, PALETTE, SEPARATED, CIELAB, ICCLAB = 0, 1, 2, 3, 5, 8, 9
RAW_PHOTOMETRICS = (32803, 34892)  # a colour filter array, linear raw
# compressions that Pillow reads: none, CCITT, LZW, JPEG, Deflate, PackBits, Zstandard
_PILLOW_READS = (1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946, 50000)


@dataclass(frozen=True)
class Page:
    """The page of a TIFF that is its picture, not yet read.

    Attributes:
        number: Number in the main chain of pages; -1 for a page inside another one.
        plain: Whether Pillow reads it correctly.
        raw: Whether it is a camera's sensor data.
        count: Number of full-resolution pages of the file.
        page: tifffile's page.
    """

    number: int
    plain: bool
    raw: bool
    count: int
    page: Any


def version() -> str | None:
    """Return the version of tifffile.

    Returns:
        The version; None if it is not installed.
    """
    return importlib.metadata.version("tifffile") if tifffile is not None else None


def find_page(content: bytes, wanted: int = 1) -> tuple[Any, Page] | None:
    """Find a page in full resolution.

    Args:
        content: The file.
        wanted: Number of the page among those in full resolution, from 1 on.

    Returns:
        The open file and the page; None if tifffile is missing or fails, or there is no such page.
    """
    if tifffile is None:
        return None
    try:
        file = tifffile.TiffFile(io.BytesIO(content))
        pages = _first_pages(file, max(PAGES, wanted))
        first = pages[0][1]
        inner = [] if getattr(first, "subifds", None) is None else [(-1, page) for page in first.pages]
        reduced = [entry for entry in pages if _is_reduced(entry[1])]
        full = [entry for entry in pages if not _is_reduced(entry[1])]
        if _is_reduced(first):
            full = [entry for entry in inner if not _is_reduced(entry[1])] + full
        raw = "DNGVersion" in first.tags or any(_photometric(page) in RAW_PHOTOMETRICS for _, page in [*full, *inner])
        full = full or [max(reduced, key=lambda entry: entry[1].imagewidth)]
        # a longer chain is only walked along
        count = len(full) if len(pages) < max(PAGES, wanted) else len(full) + len(file.pages) - len(pages)
        number, page = full[wanted - 1]
        return file, Page(number, _is_plain(page), raw, count, page)
    except Exception:  # noqa: BLE001  # on damaged input tifffile can raise almost any exception; then Pillow decides
        return None


def _first_pages(file: Any, count: int) -> list[tuple[int, Any]]:
    pages = []
    for number in range(count):
        try:
            pages.append((number, file.pages[number]))
        except IndexError:
            break
    return pages


def count_pages(path: Path) -> int:
    """Count the pages in full resolution.

    Args:
        path: The file.

    Returns:
        The number, up to ``MOST_PAGES``; 1 if it is unknown.
    """
    if tifffile is None:
        return 1
    try:
        with path.open("rb") as stream:
            if stream.read(4) not in MAGIC:
                return 1
            stream.seek(0)
            with tifffile.TiffFile(stream) as file:
                pages = _first_pages(file, MOST_PAGES)
                full = [page for _, page in pages if not _is_reduced(page)]
                # one more may hang below a small first page
                below = _is_reduced(pages[0][1]) and getattr(pages[0][1], "subifds", None) is not None
                inner = [page for page in pages[0][1].pages if not _is_reduced(page)] if below else []
                return max(1, len(full) + len(inner))
    except Exception:  # noqa: BLE001  # damaged: reading it will say why
        return 1


def read_page(
    page: Any, size: int, check_size: Callable[[int, int], None], reading: Reading = AS_THEY_ARE
) -> Image.Image:
    """Read the picture of a page.

    Args:
        page: tifffile's page.
        size: Of the file, in bytes.
        check_size: Raises ``ImageError`` for a width and height that are too large.
        reading: How samples become pixels.

    Returns:
        Mode L, RGB, RGBA or CMYK, 8 bits per sample.

    Raises:
        ImageError: The page cannot be decoded.
    """
    return _shown(_samples(page, size, check_size), page, reading)


def read_bands(
    page: Any, size: int, check_size: Callable[[int, int], None], reading: Reading
) -> tuple[NDArray[np.uint8], tuple[int, ...]]:
    """Read bands of a page. Each band has its own range, unless the file or ``reading`` has one for all.

    Args:
        page: tifffile's page.
        size: Of the file, in bytes.
        check_size: Raises ``ImageError`` for a width and height that are too large.
        reading: The bands to take, or the number of channels that is expected.

    Returns:
        uint8 (height, width, bands), and which of these bands to show as red, green and blue: positions from 0 on.

    Raises:
        ImageError: The page cannot be decoded, or has other bands than those that are asked for.
    """
    samples = int(page.samplesperpixel or 1)
    asked = reading.bands or tuple(range(1, samples + 1))
    if max(asked) > samples:
        raise ImageError(f"has {_bands(samples)}, and --bands {band_text(asked)} asks for more")
    if not reading.bands and samples != reading.channels:
        raise ImageError(f"has {_bands(samples)}, and the encoder takes {reading.channels}")
    values = _samples(page, size, check_size)
    extras = page.extrasamples or ()
    options = {
        "declared": (0.0, 255.0) if values.dtype == np.uint8 else _declared(page),
        "no_data": _no_data(page),
        "inverted": _photometric(page) == MIN_IS_WHITE,
        "photo": _photometric(page) == RGB and samples - len(extras) == 3,
        "wanted": AUTO if values.dtype == np.uint8 else reading.range,
    }
    eight = np.empty((*values.shape[:2], len(asked)), np.uint8)
    for place, band in enumerate(asked):
        eight[:, :, place], _ = to_eight_bits(values[:, :, band - 1], **options)
    return eight, as_colours(asked, natural=_photometric(page) == RGB or bool(reading.bands and reading.is_rgb))


def _bands(count: int) -> str:
    return f"{count} band{'' if count == 1 else 's'}"


def as_colours(bands: tuple[int, ...], *, natural: bool) -> tuple[int, ...]:
    """Choose the bands that a person would call red, green and blue.

    If the file does not say it: instruments number bands from short waves on. With ten or more bands the fourth is red
    (Sentinel-2, Landsat 8), with fewer the third.

    Args:
        bands: The bands.
        natural: Whether the bands may be in the order of a picture already.

    Returns:
        Positions of the three bands in ``bands``.
    """
    if len(bands) < 3:
        return (0, 0, 0)
    red = 4 if max(bands) >= 10 else 3
    wanted = (red, red - 1, red - 2)
    if natural or not set(wanted) <= set(bands):
        return (0, 1, 2)
    return tuple(bands.index(band) for band in wanted)


def _samples(page: Any, size: int, check_size: Callable[[int, int], None]) -> NDArray:
    """The samples (height, width, samples) of a page of a file of ``size`` bytes."""
    width, height, samples = int(page.imagewidth), int(page.imagelength), int(page.samplesperpixel or 1)
    check_size(width, height)
    if page.dtype is None or page.dtype.kind not in "biuf":
        raise ImageError(f"a TIFF with samples of a kind that is not supported ({page.sampleformat})")
    if int(page.imagedepth or 1) > 1:
        raise ImageError("a TIFF of a volume (ImageDepth), which is not supported")
    needed = width * height * samples * page.dtype.itemsize * 2 + width * height * 8
    if needed > 100_000_000 and needed > free_memory():
        shape = f"{width} x {height} x {samples}"
        raise ImageError(f"too large: {shape} takes {needed / 1e9:.1f} GB of memory to decode", lasting=False)
    ends = [a + b for a, b in zip(page.dataoffsets, page.databytecounts, strict=False)]
    if not ends or max(ends) > size:
        raise ImageError("damaged: the file ends before its picture does")
    # tifffile fills missing pieces with zeros, which takes long if a damaged header claims many
    stored = sum(page.databytecounts)
    claimed = width * height * samples * int(page.bitspersample) // 8
    if len(page.dataoffsets) < math.prod(page.chunked) or (int(page.compression) == 1 and stored < claimed):
        raise ImageError("damaged: parts of its picture are missing")
    try:
        values = page.asarray(maxworkers=1)
    except Exception as error:  # noqa: BLE001
        text = " ".join(str(error).split())
        if "imagecodecs" in text:
            raise ImageError(f"a TIFF compressed as {page.compression.name}: {EXTRA}", lasting=False) from None
        if text.endswith("not supported"):
            raise ImageError(f"a TIFF of a kind that is not supported ({text[:100]})") from None
        raise ImageError(f"damaged: {text[:150] or type(error).__name__}") from None
    if samples > 1 and page.planarconfig == 2:
        values = np.moveaxis(values.reshape(samples, height, width), 0, -1)
    return values.reshape(height, width, samples)


def _shown(values: NDArray, page: Any, reading: Reading) -> Image.Image:
    photometric, samples = _photometric(page), values.shape[2]
    extras = [int(kind) for kind in page.extrasamples or ()]
    colours = samples - len(extras)
    alpha = None
    if extras and extras[0] in (1, 2):
        alpha = _unit(values[:, :, colours])
    if photometric in (CIELAB, ICCLAB) and samples >= 3:
        return _over(Image.fromarray(_lab_to_srgb(values[:, :, :3], photometric)), alpha)
    if photometric == SEPARATED and samples >= 4:
        eight = (_unit(values[:, :, :4]) * 255).round().astype(np.uint8)
        return Image.fromarray(eight, "CMYK")
    if photometric == PALETTE and page.colormap is not None:
        table = np.asarray(page.colormap)  # (3, 2**bits), 16 bits
        index = np.minimum(values[:, :, 0].astype(np.int64), table.shape[1] - 1)
        return Image.fromarray((table[:, index] // 257).astype(np.uint8).transpose(1, 2, 0))
    if (photometric == RGB and colours >= 3) or (photometric != MIN_IS_WHITE and samples >= 3 and alpha is None):
        values = values[:, :, :3]
    else:
        values = values[:, :, 0]
    per_band = values.ndim == 3 and photometric != RGB  # bands of an instrument: each has its own range
    if extras and extras[0] == 1 and alpha is not None:  # associated: the colours are multiplied by alpha
        opaque = np.maximum(alpha, 1e-6)
        values = values / (opaque if values.ndim == 2 else opaque[:, :, None])
        limit = float(np.iinfo(page.dtype).max) if page.dtype.kind in "iu" else 1.0
        declared: tuple[float, float] | None = (0.0, limit)
    else:
        declared = _declared(page)
    if values.dtype == np.uint8:
        declared = (0.0, 255.0)
    options = {
        "declared": declared,
        "no_data": _no_data(page),
        "inverted": photometric == MIN_IS_WHITE,
        "wanted": AUTO if values.dtype == np.uint8 else reading.range,
    }
    if per_band:
        bands = [to_eight_bits(values[:, :, band], photo=False, **options)[0] for band in range(3)]
        eight = np.stack(bands, axis=2)
    else:
        eight, _ = to_eight_bits(values, **options)
    return _over(Image.fromarray(eight), alpha)


def _over(image: Image.Image, alpha: NDArray | None) -> Image.Image:
    if alpha is None:
        return image
    image = image.convert("RGB")
    image.putalpha(Image.fromarray((np.clip(alpha, 0, 1) * 255).round().astype(np.uint8)))
    return image


def _unit(values: NDArray) -> NDArray[np.float32]:
    limit = np.iinfo(values.dtype).max if values.dtype.kind in "iu" else 1
    return np.nan_to_num(values.astype(np.float32)) / np.float32(limit)


def _lab_to_srgb(values: NDArray, photometric: int) -> NDArray[np.uint8]:
    """Convert CIE L*a*b* under D50 to sRGB. TIFF 6.0, section 23: a* and b* are signed; ICC's are offset by half."""
    bits = values.dtype.itemsize * 8
    unsigned = values.astype(np.int64) & (2**bits - 1)
    lightness = unsigned[:, :, 0] * (100 / (2**bits - 1))
    half = 2 ** (bits - 1)
    ab = unsigned[:, :, 1:].astype(np.int64)
    ab = ab - half if photometric == ICCLAB else np.where(ab >= half, ab - 2 * half, ab)
    a, b = np.moveaxis(ab / 2 ** (bits - 8), -1, 0)
    fy = (lightness + 16) / 116
    f = np.stack([fy + a / 500, fy, fy - b / 200], axis=-1)
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * [0.9642, 1.0, 0.8249]
    # D50 to linear sRGB, Bradford-adapted (Lindbloom)
    matrix = np.array(
        [[3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.033454], [0.0719453, -0.2289914, 1.4052427]]
    )
    linear = (xyz @ matrix.T).clip(0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return (srgb * 255).round().clip(0, 255).astype(np.uint8)


def _declared(page: Any) -> tuple[float, float] | None:
    """The values of black and white that the file declares; the limits of the dtype do not count."""
    for low_tag, high_tag in ((340, 341), (280, 281)):
        high, low = _number(page, high_tag), _number(page, low_tag)
        if high is None:
            continue
        low = 0.0 if low is None else low
        if page.dtype.kind in "iu" and high >= np.iinfo(page.dtype).max:
            continue
        if low < high and np.isfinite([low, high]).all():
            return low, high
    bits = int(page.bitspersample)
    if page.dtype.kind == "u" and bits % 8:  # 12 bits, packed: a photo's, as 8 bits are
        return 0.0, float(2**bits - 1)
    return None


def _number(page: Any, tag: int) -> float | None:
    try:
        return float(np.max(page.tags[tag].value))
    except (KeyError, TypeError, ValueError):
        return None


def _no_data(page: Any) -> float | None:
    try:
        return float(str(page.tags[42113].value).strip("\0 "))
    except (KeyError, TypeError, ValueError):
        return None


def taken(page: Any) -> datetime | None:
    """Read when the picture of a page was taken, otherwise digitised, from its EXIF data.

    Args:
        page: tifffile's page.

    Returns:
        The time; None if it says nothing.
    """
    try:
        tags = page.tags[34665].value
        dates = (parse_date(str(tags.get(name) or "")) for name in ("DateTimeOriginal", "DateTimeDigitized"))
        return next((date for date in dates if date is not None), None)
    except Exception:  # noqa: BLE001  # damaged EXIF costs the date alone
        return None


def _photometric(page: Any) -> int:
    return int(page.photometric) if page.photometric is not None else MIN_IS_BLACK


def _is_reduced(page: Any) -> bool:
    return bool(int(page.subfiletype or 0) & 5) or getattr(page, "imagewidth", 0) == 0  # a small copy, or a mask


def _is_plain(page: Any) -> bool:
    """Whether Pillow reads this page correctly: 1 to 8 unsigned bits, four samples or fewer."""
    extras = tuple(int(kind) for kind in page.extrasamples or ())
    samples = int(page.samplesperpixel or 1)
    if int(page.bitspersample) > 8 or samples > 4 or int(page.sampleformat or 1) != 1 or 42113 in page.tags:
        return False
    if int(page.compression) not in _PILLOW_READS or (int(page.compression) == 7 and page.planarconfig == 2):
        return False
    if (_photometric(page) == MIN_IS_BLACK and samples >= 3) or (_photometric(page) == MIN_IS_WHITE and samples > 1):
        return False
    return not (samples == 2 and extras[:1] != (2,))  # of grey with alpha, Pillow reads only unassociated alpha
