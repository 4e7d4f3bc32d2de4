"""JPEG XL files, read by imagecodecs and libjxl (extra ``jxl``)."""

import importlib.util

import numpy as np
from PIL import Image

from .image_error import ImageError
from .ranges import to_eight_bits
from .reading import AUTO, Range
from .size_limits import check_size

EXTRA = "pip install 'simsiam-retrieval[jxl]'"
CODESTREAM, CONTAINER = b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))  # width : height


def version() -> str | None:
    """Return the version of imagecodecs.

    Returns:
        The version; None if it is not installed.
    """
    if importlib.util.find_spec("imagecodecs") is None:
        return None
    from importlib import metadata  # late: every worker process imports this module

    return metadata.version("imagecodecs")


def is_jxl(head: bytes) -> bool:
    """Return whether a file is JPEG XL.

    Args:
        head: First bytes of the file.

    Returns:
        True for JPEG XL.
    """
    return head[:2] == CODESTREAM or head[:12] == CONTAINER


def read(content: bytes, wanted: Range = AUTO) -> Image.Image:
    """Read the first frame, upright.

    Args:
        content: The file.
        wanted: Range of samples of more than 8 bits.

    Returns:
        Mode L, LA, RGB or RGBA.

    Raises:
        ImageError: The file cannot be decoded.
    """
    if version() is None:
        raise ImageError(f"a JPEG XL file: {EXTRA}", lasting=False)
    import imagecodecs

    check_size(*stored_size(content))
    try:
        values = np.asarray(imagecodecs.jpegxl_decode(content, index=0))
    except Exception as error:  # noqa: BLE001  # its errors have no common base class except Exception
        raise ImageError(f"damaged: libjxl stops ({' '.join(str(error).split())[:100]})") from None
    if values.ndim == 2:
        values = values[:, :, None]
    colours = 1 if values.shape[2] < 3 else 3
    shown = values[:, :, :colours]
    if shown.dtype != np.uint8:
        shown, _ = to_eight_bits(np.ascontiguousarray(shown), wanted=wanted)
    image = Image.fromarray(np.ascontiguousarray(shown[:, :, 0] if colours == 1 else shown))
    if values.shape[2] > colours:
        most = np.iinfo(values.dtype).max if values.dtype.kind == "u" else 1
        alpha = np.clip(values[:, :, colours].astype(float) / most, 0, 1)
        image.putalpha(Image.fromarray((255 * alpha).round().astype(np.uint8)))
    return image


def stored_size(content: bytes) -> tuple[int, int]:
    """Read width and height from the header (ISO/IEC 18181-1, SizeHeader).

    Args:
        content: The file.

    Returns:
        Width and height in pixels.

    Raises:
        ImageError: There is no size.
    """
    header = content[2:32] if content[:2] == CODESTREAM else _first_box(content)[2:32]
    if len(header) < 4:
        raise ImageError("damaged: no size in its header")
    bits = int.from_bytes(header, "little")

    def take(count: int) -> int:
        nonlocal bits
        value, bits = bits & ((1 << count) - 1), bits >> count
        return value

    eighths = take(1)

    def side() -> int:
        return 8 * (1 + take(5)) if eighths else 1 + take((9, 13, 18, 30)[take(2)])

    height, ratio = side(), take(3)
    width = side() if ratio == 0 else height * _RATIOS[ratio - 1][0] // _RATIOS[ratio - 1][1]
    return width, height


def _first_box(content: bytes) -> bytes:
    """The beginning of the codestream inside a container."""
    at = 0
    while at + 8 <= len(content):
        size, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        start = at + 8
        if size == 1:
            size, start = int.from_bytes(content[start : start + 8], "big"), start + 8
        if kind in (b"jxlc", b"jxlp"):
            start += 4 if kind == b"jxlp" else 0
            return content[start : start + 32]
        if size < 8:
            break
        at += size
    return b""
