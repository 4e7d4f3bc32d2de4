"""JPEGs that Pillow does not read: 12 bits, and lossless ones; read by imagecodecs (extra ``scientific``)."""

import importlib.util

import numpy as np
from PIL import Image

from .image_error import ImageError
from .ranges import to_eight_bits
from .reading import AUTO, Range
from .size_limits import check_size

EXTRA = "pip install 'simsiam-retrieval[scientific]'"
_FRAMES = (0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA, 0xCB)  # markers SOF (ITU-T T.81, table B.1)
_LOSSLESS = (0xC3, 0xCB)


def frame(content: bytes) -> tuple[int, int, int, bool] | None:
    """Read the header of the frame.

    Args:
        content: The file.

    Returns:
        Bits of a sample, width and height, and whether it is lossless; None if there is no such header.
    """
    at = 2
    while at + 9 <= len(content) and content[at] == 0xFF:
        marker, length = content[at + 1], int.from_bytes(content[at + 2 : at + 4], "big")
        if marker in _FRAMES:
            height, width = (int.from_bytes(content[place : place + 2], "big") for place in (at + 5, at + 7))
            return content[at + 4], width, height, marker in _LOSSLESS
        at += 1 if marker == 0xFF else 2 + length
    return None


def read(content: bytes, wanted: Range = AUTO) -> Image.Image | None:
    """Read a JPEG of more than 8 bits, or a lossless one.

    Args:
        content: The file.
        wanted: See ``ranges.to_eight_bits``.

    Returns:
        L or RGB; None if it is another JPEG.

    Raises:
        ImageError: It cannot be decoded.
    """
    found = frame(content) if content[:2] == b"\xff\xd8" else None
    if found is None or (found[0] <= 8 and not found[3]):
        return None
    bits, width, height, _ = found
    if importlib.util.find_spec("imagecodecs") is None:
        raise ImageError(f"a JPEG of {bits} bits or a lossless one: {EXTRA}", lasting=False)
    import imagecodecs

    check_size(width, height)
    try:
        values = np.asarray(imagecodecs.jpeg_decode(content))
    except Exception as error:  # noqa: BLE001  # its errors have no common base class except Exception
        raise ImageError(f"damaged: {' '.join(str(error).split())[:100]}") from None
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] != 3):
        raise ImageError(f"a JPEG of {bits} bits with other colours than grey or RGB, which is not supported")
    declared = (0.0, float(2**bits - 1)) if bits < 16 else None
    return Image.fromarray(to_eight_bits(values, declared=declared, wanted=wanted)[0])
