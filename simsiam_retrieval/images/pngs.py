"""PNG features that Pillow does not read: 16-bit colours, and transparent greys of 2 and 4 bits."""

import io
import struct
from dataclasses import dataclass
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .ranges import to_eight_bits
from .reading import AUTO, Range

_HIGH_TO_LOW = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L", "LA;16B": "RGBA"}


@dataclass(frozen=True)
class PngHeader:
    """Bit depth and colour type of a PNG file.

    Attributes:
        depth: Bits per sample.
        colour: 0 grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGB with alpha.
    """

    depth: int
    colour: int

    @classmethod
    def of(cls, head: bytes) -> "PngHeader | None":
        """Read the header.

        Args:
            head: The first bytes of a file, at least 26.

        Returns:
            The header; None if there is none.
        """
        if len(head) < 26 or head[12:16] != b"IHDR":
            return None
        return cls(*struct.unpack("BB", head[24:26]))

    @property
    def is_deep_colour(self) -> bool:
        """Whether Pillow would keep only 8 of 16 bits of each colour, or of a grey with alpha."""
        return self.depth == 16 and self.colour in (2, 4, 6)

    @property
    def is_deep(self) -> bool:
        """Whether samples have 16 bits."""
        return self.depth == 16

    def mend_key(self, image: Image.Image) -> None:
        """Scale a transparent grey of 2 or 4 bits to 8 bits, as Pillow scales the grey levels.

        Args:
            image: An opened image; its ``info`` is changed.
        """
        key = image.info.get("transparency")
        if self.colour == 0 and self.depth in (2, 4) and isinstance(key, int):
            image.info["transparency"] = key * (255 // (2**self.depth - 1))


def significant_bits(file: IO[bytes]) -> int | None:
    """Read how many bits of a sample are significant (chunk sBIT, PNG 3rd edition, section 11.3.2.7).

    Args:
        file: The file; its position is not changed.

    Returns:
        The bits of the most precise channel; None if the file does not say it.
    """
    start = file.tell()
    try:
        file.seek(8)
        while len(head := file.read(8)) == 8 and head[4:] not in (b"IDAT", b"PLTE"):
            length = int.from_bytes(head[:4], "big")
            if head[4:] == b"sBIT":
                found = max(file.read(min(length, 3)), default=0)
                return found if 1 <= found <= 16 else None
            file.seek(length + 4, io.SEEK_CUR)
        return None
    finally:
        file.seek(start)


def declared_range(values: NDArray, bits: int | None) -> tuple[float, float] | None:
    """Determine the values of black and white of 16-bit samples with a number of significant bits.

    The standard wants samples that are scaled to 16 bits. Some programs write the bits as they are.

    Args:
        values: The samples.
        bits: Of ``significant_bits``.

    Returns:
        The values; None if ``bits`` is None.
    """
    if bits is None:
        return None
    own = 2**bits - 1
    return (0.0, float(own if values.size and int(values.max()) <= own else 65535))


def sixteen_bit_colours(image: Image.Image, header: PngHeader, wanted: Range = AUTO) -> Image.Image:
    """Read all 16 bits of colours, or of a grey with alpha, and scale them to 8 bits by the range that is used.

    Pillow unpacks only the high byte of a sample. If it is told that the low byte comes first, it unpacks the low byte.
    Grey and alpha have four bytes a pixel, as 8-bit RGBA has: read as that, all bytes are there.

    Args:
        image: The opened image.
        header: Its header.
        wanted: See ``ranges.to_eight_bits``.

    Returns:
        L, LA, RGB or RGBA, 8 bits.
    """
    file, key = getattr(image, "fp", None), image.info.get("transparency")
    if file is None or any(tile.args not in _HIGH_TO_LOW for tile in getattr(image, "tile", [])):
        image.load()
        return image.copy()
    bits = significant_bits(file)
    grey = header.colour == 4
    again, parts = image, []
    for low in (True,) if grey else (False, True):
        file.seek(0)
        again = Image.open(file, formats=("PNG",))
        if low:
            again.tile = [tile._replace(args=_HIGH_TO_LOW[str(tile.args)]) for tile in again.tile]
        again.load()
        parts.append(np.asarray(again))
    image.info.update(again.info)  # text and EXIF may follow the pixels
    values = parts[0].view(">u2").astype(np.uint16) if grey else parts[0].astype(np.uint16) << 8 | parts[1]
    channels = 1 if grey else 3
    colours = values[:, :, :channels]
    alpha = values[:, :, channels] / 65535 if values.shape[2] > channels else None
    declared = declared_range(colours, bits)
    eight, _ = to_eight_bits(np.ascontiguousarray(colours), declared=declared, wanted=wanted)
    if isinstance(key, tuple) and alpha is None:
        alpha = (colours != np.array(key, np.uint16)).any(axis=2).astype(float)
    shown = Image.fromarray(eight[:, :, 0] if grey else eight)
    if alpha is not None:
        shown.putalpha(Image.fromarray((alpha * 255).round().astype(np.uint8)))
    return shown
