"""Hard compression: whether one picture, compressed as hard as the other one, becomes that one."""

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .picture import Picture
from .worsened import Worsened, apart, resized

BLOCK = 8  # side of JPEG's blocks in pixels; its colours have blocks of twice that
BLOCKY = 1.4  # steps between blocks / steps inside them, from which a picture was compressed hard
QUALITIES = range(2, 25)
TRIED = 12 * 2 * BLOCK  # longest side in pixels of the middle part on which the quality is chosen
SMALLEST = 3 * BLOCK  # pixels


def blockiness(picture: Picture) -> float:
    """Measure the blocks that hard JPEG compression leaves.

    Args:
        picture: The picture, at the size at which it was compressed.

    Returns:
        Mean step at every eighth pixel / mean of the other steps: about 1 without blocks; 0 of tiny pictures.
    """
    if min(picture.width, picture.height) < SMALLEST:
        return 0.0
    ratios = []
    for grey in (picture.grey, picture.grey.T):
        steps = np.abs(np.diff(grey, axis=1)).mean(axis=0)
        edges = np.arange(1, len(steps) + 1) % BLOCK == 0
        ratios.append(float(steps[edges].mean()) / max(float(steps[~edges].mean()), 0.1))
    return sum(ratios) / 2


def compressed_like(first: Picture, second: Picture) -> Worsened:
    """Compress a picture with the quality at which it is closest to another one.

    A copy that was compressed hard differs much from its original, and hardly from the original that was compressed as
    hard: the same values are rounded in the same blocks. Other pictures stay as different as they were.

    Args:
        first: The clear picture.
        second: The compressed one. Both fill the same frame.

    Returns:
        The first picture, compressed.
    """
    clear = resized(first, second)
    part = _middle(second.height), _middle(second.width)
    tried = {quality: apart(_compressed(clear[part], quality), second.rgb[part]) for quality in QUALITIES}
    pixels = _compressed(clear, min(tried, key=lambda quality: tried[quality]))
    made = Picture(Image.fromarray(pixels))
    return Worsened(made, apart(clear, second.rgb), apart(pixels, second.rgb))


def _middle(length: int) -> slice:
    """The middle of a side, from the edge of a block on."""
    start = max(0, length - TRIED) // 2 // (2 * BLOCK) * 2 * BLOCK
    return slice(start, start + TRIED)


def _compressed(rgb: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(rgb[:, :, ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.ascontiguousarray(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[:, :, ::-1])
