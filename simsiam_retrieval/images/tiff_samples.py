"""The samples of a TIFF's page, read by tifffile (extra ``scientific``) and converted to 8 bits: colours and bands."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..core.memory import free_memory
from .image_error import ImageError
from .ranges import to_eight_bits
from .reading import AS_THEY_ARE, AUTO, Reading, band_text
from .size_limits import check_size
from .tiff_layout import CIELAB, ICCLAB, MIN_IS_WHITE, PALETTE, RGB, SEPARATED
from .tiff_pages import EXTRA, photometric


def read_page(page: Any, size: int, reading: Reading = AS_THEY_ARE) -> Image.Image:
    """Read the picture of a page.

    Args:
        page: tifffile's page.
        size: Of the file, in bytes.
        reading: How samples become pixels.

    Returns:
        Mode L, RGB, RGBA or CMYK, 8 bits per sample.

    Raises:
        ImageError: The page cannot be decoded.
    """
    return _shown(_samples(page, size), page, reading)


def read_bands(page: Any, size: int, reading: Reading) -> tuple[NDArray[np.uint8], tuple[int, ...]]:
    """Read bands of a page. Each band has its own range, unless the file or ``reading`` has one for all.

    Args:
        page: tifffile's page.
        size: Of the file, in bytes.
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
    values = _samples(page, size)
    extras = page.extrasamples or ()
    options = {
        "declared": (0.0, 255.0) if values.dtype == np.uint8 else _declared(page),
        "no_data": _no_data(page),
        "inverted": photometric(page) == MIN_IS_WHITE,
        "photo": photometric(page) == RGB and samples - len(extras) == 3,
        "wanted": AUTO if values.dtype == np.uint8 else reading.range,
    }
    eight = np.empty((*values.shape[:2], len(asked)), np.uint8)
    for place, band in enumerate(asked):
        eight[:, :, place], _ = to_eight_bits(values[:, :, band - 1], **options)
    return eight, as_colours(asked, natural=photometric(page) == RGB or bool(reading.bands and reading.is_rgb))


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


def _samples(page: Any, size: int) -> NDArray:
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
    kind, samples = photometric(page), values.shape[2]
    extras = [int(extra) for extra in page.extrasamples or ()]
    colours = samples - len(extras)
    alpha = None
    if extras and extras[0] in (1, 2):
        alpha = _unit(values[:, :, colours])
    if kind in (CIELAB, ICCLAB) and samples >= 3:
        return _over(Image.fromarray(_lab_to_srgb(values[:, :, :3], kind)), alpha)
    if kind == SEPARATED and samples >= 4:
        eight = (_unit(values[:, :, :4]) * 255).round().astype(np.uint8)
        return Image.fromarray(eight, "CMYK")
    if kind == PALETTE and page.colormap is not None:
        table = np.asarray(page.colormap)  # (3, 2**bits), 16 bits
        index = np.minimum(values[:, :, 0].astype(np.int64), table.shape[1] - 1)
        return Image.fromarray((table[:, index] // 257).astype(np.uint8).transpose(1, 2, 0))
    if (kind == RGB and colours >= 3) or (kind != MIN_IS_WHITE and samples >= 3 and alpha is None):
        values = values[:, :, :3]
    else:
        values = values[:, :, 0]
    per_band = values.ndim == 3 and kind != RGB  # bands of an instrument: each has its own range
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
        "inverted": kind == MIN_IS_WHITE,
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
