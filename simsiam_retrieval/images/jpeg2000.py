"""JPEG 2000 files of more than 8 bits: their depth, and colours that Pillow would cut down to 8 bits."""

import importlib.util
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .ranges import to_eight_bits
from .reading import AUTO, Range

_CODESTREAM = b"\xff\x4f\xff\x51"  # markers SOC and SIZ (ISO/IEC 15444-1, annex A)
_LUMA_CHROMA = b"colr\x01\0\0\0\0\0\x12"  # the box that says sYCC


@dataclass(frozen=True)
class Components:
    """Components of a picture.

    Attributes:
        count: Number of components.
        bits: Bits of a sample, if equal in all components; otherwise 0.
        plain: Whether all are unsigned, of full resolution, and neither luma nor chroma.
    """

    count: int
    bits: int
    plain: bool


def components(content: bytes) -> Components | None:
    """Read the components from the header of the codestream.

    Args:
        content: The file.

    Returns:
        The components; None if there is no such header.
    """
    start = content.find(_CODESTREAM)
    if start < 0 or len(content) < start + 42:
        return None
    count = int.from_bytes(content[start + 40 : start + 42], "big")
    parts = [content[start + 42 + 3 * number : start + 45 + 3 * number] for number in range(min(count, 5))]
    if not parts or any(len(part) < 3 for part in parts):
        return None
    depths = {part[0] for part in parts}
    signed = any(depth & 0x80 for depth in depths)
    whole = all(part[1] == part[2] == 1 for part in parts)
    bits = (depths.pop() & 0x7F) + 1 if len(depths) == 1 else 0
    return Components(count, bits, whole and not signed and _LUMA_CHROMA not in content[:start])


def deep_colours(content: bytes, found: Components, wanted: Range = AUTO) -> Image.Image | None:
    """Read all bits of colours, and scale them to 8 bits by the range that is declared or used.

    Args:
        content: The file.
        found: Its components.
        wanted: See ``ranges.to_eight_bits``.

    Returns:
        RGB or RGBA; None if Pillow reads the file as well, or imagecodecs is not installed.
    """
    if found.bits <= 8 or found.count not in (3, 4) or not found.plain:
        return None
    if importlib.util.find_spec("imagecodecs") is None:
        return None
    import imagecodecs

    values: NDArray = np.asarray(imagecodecs.jpeg2k_decode(content))
    if values.ndim != 3 or values.shape[2] != found.count:
        return None
    most = 2**found.bits - 1
    declared = None if found.bits == 16 else (0.0, float(most))
    eight, _ = to_eight_bits(np.ascontiguousarray(values[:, :, :3]), declared=declared, wanted=wanted)
    image = Image.fromarray(eight)
    if found.count == 4:
        image.putalpha(Image.fromarray((values[:, :, 3] / most * 255).round().astype(np.uint8)))
    return image
