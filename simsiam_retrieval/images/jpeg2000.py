"""What Pillow leaves out of JPEG 2000 files: the order of channels, and more than 8 bits of colours."""

import importlib.util
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .ranges import to_eight_bits
from .reading import AUTO, Range

_CODESTREAM = b"\xff\x4f\xff\x51"  # markers SOC and SIZ (ISO/IEC 15444-1, annex A)
_SIGNATURE = b"\0\0\0\x0cjP  \r\n\x87\n"  # the first box of a JP2 file (annex I)
_COLOUR, _OPACITY = 0, 1  # types of a channel in the box cdef (I.5.3.6)
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


def in_stored_order(image: Image.Image, content: bytes) -> Image.Image:
    """Put the channels of a picture in order, where its file says that they are stored in another one, such as BGR.

    Pillow 13 takes no notice of that (``findings/jp2_channel_definition.sh``).

    Args:
        image: As Pillow decodes the file.
        content: The file.

    Returns:
        The picture with its channels in order; the same one if they are.
    """
    bands = image.getbands()
    if image.mode not in ("RGB", "RGBA") or _LUMA_CHROMA in content[: max(content.find(_CODESTREAM), 0)]:
        return image
    order = _channel_order(content)
    if sorted(order) != list(range(len(bands))) or order == sorted(order):
        return image
    stored = image.split()
    return Image.merge(image.mode, [stored[channel] for channel in order])


def _channel_order(content: bytes) -> list[int]:
    """Stored positions of red, green, blue and, if there is one, opacity; empty if the file does not tell."""
    if not content.startswith(_SIGNATURE):
        return []
    header = next((body for name, body in _boxes(content) if name == b"jp2h"), b"")
    body = next((body for name, body in _boxes(header) if name == b"cdef"), b"")
    if len(body) < 2 or len(body) != 2 + 6 * int.from_bytes(body[:2], "big"):
        return []
    found = {(kind, of): channel for channel, kind, of in struct.iter_unpack(">3H", body[2:])}
    order = [found.get((_COLOUR, colour), -1) for colour in (1, 2, 3)]
    return order + [channel for (kind, _), channel in found.items() if kind == _OPACITY]


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of each box, until one that is cut off (I.4)."""
    start = 0
    while start + 8 <= len(content):
        length, name, begin = int.from_bytes(content[start : start + 4], "big"), content[start + 4 : start + 8], 8
        if length == 1:
            length, begin = int.from_bytes(content[start + 8 : start + 16], "big"), 16
        elif length == 0:  # up to the end
            length = len(content) - start
        if length < begin:
            return
        yield name, content[start + begin : start + length]
        start += length


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
