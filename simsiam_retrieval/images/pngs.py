"""What Pillow leaves out of PNG files: 16 bits of colours, and transparent colours of some depths."""

import struct
from dataclasses import dataclass

import numpy as np
from PIL import Image

from .ranges import to_eight_bits
from .reading import AUTO, Range

_HIGH_TO_LOW = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L"}


@dataclass(frozen=True)
class PngHeader:
    """Depth and colour type of a PNG."""

    depth: int  # bits a sample
    colour: int  # 0 grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGB with alpha

    @classmethod
    def of(cls, head: bytes) -> "PngHeader | None":
        """By the first bytes of a file; None where there is no header."""
        if len(head) < 26 or head[12:16] != b"IHDR":
            return None
        return cls(*struct.unpack("BB", head[24:26]))

    @property
    def is_deep_colour(self) -> bool:
        """Whether Pillow would keep eight of sixteen bits of a colour."""
        return self.depth == 16 and self.colour in (2, 6)

    def mend_key(self, image: Image.Image) -> None:
        """Give the transparent grey of 2 and 4 bits as Pillow gives the greys: in 8 bits."""
        key = image.info.get("transparency")
        if self.colour == 0 and self.depth in (2, 4) and isinstance(key, int):
            image.info["transparency"] = key * (255 // (2**self.depth - 1))


def sixteen_bit_colours(image: Image.Image, header: PngHeader, wanted: Range = AUTO) -> Image.Image:
    """An opened 16-bit RGB or RGBA PNG, scaled to 8 bits by the range that is used, or ``wanted``.

    Pillow unpacks a sample's high byte alone; told that the low byte came first, it unpacks that one.
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
