"""Blur: whether one picture, blurred as much as the other one, becomes that one."""

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .picture import Picture
from .worsened import Worsened, apart, resized

SOFTER = 0.7  # mean step between neighbouring pixels / that of the sharp picture at the same size
WIDTHS = tuple(0.5 * 1.25**step for step in range(12))  # standard deviations in pixels, up to 5.8


def softness(first: Picture, second: Picture) -> float:
    """Compare how sharp two pictures are at the size of the second one.

    Args:
        first: The one picture.
        second: The other one.

    Returns:
        Mean step between neighbouring pixels of the second picture / that of the first one.
    """
    return _step(second.rgb) / max(_step(resized(first, second)), 0.1)


def blurred_like(first: Picture, second: Picture) -> Worsened:
    """Blur a picture as much as brings it closest to another one.

    Args:
        first: The sharp picture.
        second: The soft one. Both fill the same frame.

    Returns:
        The first picture, blurred.
    """
    sharp = resized(first, second)
    tried = {width: apart(_blurred(sharp, width), second.rgb) for width in WIDTHS}
    pixels = _blurred(sharp, min(tried, key=lambda width: tried[width]))
    return Worsened(Picture(Image.fromarray(pixels)), apart(sharp, second.rgb), apart(pixels, second.rgb))


def _blurred(rgb: NDArray[np.uint8], width: float) -> NDArray[np.uint8]:
    return np.asarray(cv2.GaussianBlur(rgb, (0, 0), width, borderType=cv2.BORDER_REPLICATE), np.uint8)


def _step(rgb: NDArray[np.uint8]) -> float:
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean())
