"""A picture, made as bad as another one: what is left of their difference then tells copies from other pictures."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from .picture import Picture


class Worsened(NamedTuple):
    """One picture, compressed or blurred as hard as another one.

    Attributes:
        picture: The worse picture, of the other one's size.
        before: Mean difference of all pixels before, of 255.
        after: Mean difference of all pixels after.
    """

    picture: Picture
    before: float
    after: float


def resized(first: Picture, second: Picture) -> NDArray[np.uint8]:
    """Resize a picture to the size of another one.

    Args:
        first: The picture.
        second: The other one.

    Returns:
        RGB, uint8 (height, width, 3).
    """
    interpolation = cv2.INTER_AREA if first.width > second.width else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(first.rgb, (second.width, second.height), interpolation=interpolation), np.uint8)


def apart(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Measure how much two pictures of the same size differ.

    Args:
        one: uint8, of any shape.
        other: uint8, of the same shape.

    Returns:
        Mean absolute difference, of 255.
    """
    return float(np.abs(one.astype(np.int16) - other).mean())
