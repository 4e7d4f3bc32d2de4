"""PNG features that Pillow does not read: 16-bit colours, and transparent greys of 2 and 4 bits."""

import struct
from dataclasses import dataclass

import numpy as np
from PIL import Image

from .ranges import to_eight_bits
from .reading import AUTO, Range

_HIGH_TO_LOW = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L"}


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
        """Whether Pillow would keep only 8 of 16 bits of each colour."""
        return self.depth == 16 and self.colour in (2, 6)

    def mend_key(self, image: Image.Image) -> None:
        """Scale a transparent grey of 2 or 4 bits to 8 bits, as Pillow scales the grey levels.

        Args:
            image: An opened image; its ``info`` is changed.
        """
        key = image.info.get("transparency")
        if self.colour == 0 and self.depth in (2, 4) and isinstance(key, int):
            image.info["transparency"] = key * (255 // (2**self.depth - 1))


def sixteen_bit_colours(image: Image.Image, header: PngHeader, wanted: Range = AUTO) -> Image.Image:
    """Read all 16 bits of an RGB or RGBA PNG and scale them to 8 bits by the range that is used.

    Pillow unpacks only the high byte of a sample. If it is told that the low byte comes first, it unpacks the low byte.

    Args:
        image: The opened image.
        header: Its header.
        wanted: See ``ranges.to_eight_bits``.

    Returns:
        RGB or RGBA, 8 bits.
    """
    file, key = getattr(image, "fp", None), image.info.get("transparency")
    if file is None or any(tile.args not in _HIGH_TO_LOW for tile in getattr(image, "tile", [])):
        image.load()
        return image.copy()
    parts = []
    for low in (False, True):
        file.seek(0)
        again = Image.open(file, formats=("PNG",))
        if low:
            again.tile = [tile._replace(args=_HIGH_TO_LOW[str(tile.args)]) for tile in again.tile]
        again.load()
        parts.append(np.asarray(again).astype(np.uint16))
    image.info.update(again.info)  # text and EXIF may follow the pixels
    values = parts[0] << 8 | parts[1]
    colours, alpha = values[:, :, :3], values[:, :, 3] / 65535 if values.shape[2] == 4 else None
    eight, _ = to_eight_bits(np.ascontiguousarray(colours), wanted=wanted)
    if isinstance(key, tuple) and alpha is None:
        alpha = (colours != np.array(key, np.uint16)).any(axis=2).astype(float)
    shown = Image.fromarray(eight)
    if alpha is not None:
        shown.putalpha(Image.fromarray((alpha * 255).round().astype(np.uint8)))
    return shown
