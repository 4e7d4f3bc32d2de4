"""How sharp, dark, bright, rich in contrast, plain and colourful a picture is, from pixels that are decoded anyway.

Worker processes import this, so nothing heavy. All of it is measured on the thumbnail's pixels, before they are
compressed: a blur narrower than about 1/300 of the picture's longer side does not show there.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

SAMPLED = 32  # pixels a side that are looked at for grey values and colours: every so manieth, not averaged
MIDDLE = 96  # pixels a side of the middle whose sharpness counts; native ones, since averaging would sharpen
_LEVELS = np.arange(256)
_HALF = 2  # the filter's 8 bits hold the Laplacian by this; beyond +-256 grey levels it is cut off
_LAPLACIAN = ImageFilter.Kernel((3, 3), (0, 1, 0, 1, -4, 1, 0, 1, 0), scale=_HALF, offset=128)
_EDGES = (_HALF * (_LEVELS - 128.0)) ** 2
_NOISE = 1.0  # grey levels²; keeps the sharpness of a picture of one colour finite


class Measures(NamedTuple):
    """What is measured of a picture. A field's name is the name of the measure in filters, options and the catalog."""

    sharpness: float  # variance of the Laplacian / variance of the grey values; low: blurred
    brightness: float  # mean grey value, 0 (black) to 1 (white)
    shadows: float  # 5th percentile of the grey values, 0 to 1; high: overexposed, nothing dark in it
    highlights: float  # 99th percentile of the grey values, 0 to 1; low: underexposed, nothing bright in it
    contrast: float  # standard deviation of the grey values, 0 to 0.5
    detail: float  # entropy of the grey values' histogram, 0 to 8 bits; low: plain
    colour: float  # mean difference of red and green, and of green and blue, 0 to 1; 0: shades of grey
    mode: str = ""  # how the file stores its pixels, as Pillow calls it: RGB, L, CMYK, ...; "" where that is not known


NUMBERS = Measures._fields[:-1]


def measure(image: Image.Image, mode: str = "") -> Measures:
    """Measure an RGB image of about a thumbnail's size; ``mode`` is that of the file it came from."""
    sample = image.resize((min(SAMPLED, image.width), min(SAMPLED, image.height)), Image.Resampling.NEAREST)
    counts = np.array(sample.convert("L").histogram(), np.float64)
    shares = counts / counts.sum()
    mean = float(shares @ _LEVELS)
    variance = max(0.0, float(shares @ (_LEVELS - mean) ** 2))
    below = np.cumsum(shares)
    used = shares[shares > 0]
    rgb = np.asarray(sample).astype(np.float32)
    return Measures(
        sharpness=round(_sharpness(image), 6),
        brightness=round(mean / 255, 6),
        shadows=round(int(np.searchsorted(below, 0.05)) / 255, 6),
        highlights=round(int(np.searchsorted(below, 0.99)) / 255, 6),
        contrast=round(variance**0.5 / 255, 6),
        detail=round(abs(float(used @ np.log2(used))), 6),
        colour=round(float(np.abs(rgb[..., 1:] - rgb[..., :-1]).mean()) / 255, 6),
        mode=mode,
    )


def _sharpness(image: Image.Image) -> float:
    """Variance of the middle's Laplacian by that of its grey values; 0 where a side is shorter than 3 pixels."""
    if min(image.size) < 3:
        return 0.0
    left, top = max(0, image.width - MIDDLE) // 2, max(0, image.height - MIDDLE) // 2
    middle = image.crop((left, top, min(left + MIDDLE, image.width), min(top + MIDDLE, image.height))).convert("L")
    edges = np.array(middle.filter(_LAPLACIAN).crop((1, 1, middle.width - 1, middle.height - 1)).histogram())
    values = np.array(middle.histogram())
    mean = values @ _LEVELS / values.sum()
    variance = values @ _LEVELS**2 / values.sum() - mean**2
    return float(edges @ _EDGES / edges.sum() / (variance + _NOISE))
