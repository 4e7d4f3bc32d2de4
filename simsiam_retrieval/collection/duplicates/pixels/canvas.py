"""The canvas on which two aligned pictures are compared: the rectangle that both reach, with the pixels of each."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from .alignment import Alignment
from .picture import Picture

LONGEST = 192  # longest side in pixels


class Canvas(NamedTuple):
    """Two aligned pictures on one grid of pixels.

    Attributes:
        one: RGB of the first picture in [0, 255], float32 (height, width, 3).
        other: The same of the second one.
        inside: Pixels that lie on both, (height, width).
        low: Left and top in pixels of the first picture.
        high: Right and bottom.
        outline: Corners of the second picture in pixels of the first one, (4, 2).
        back: From pixels of the first picture to those of the second one, mirrored if so, (2, 3).
    """

    one: NDArray[np.float32]
    other: NDArray[np.float32]
    inside: NDArray[np.bool_]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    outline: NDArray[np.float64]
    back: NDArray[np.float64]


def canvas(first: Picture, second: Picture, alignment: Alignment, smallest: int) -> Canvas | None:
    """Lay two pictures over each other.

    Args:
        first: The one picture.
        second: The other one.
        alignment: Where the second one lies on the first one.
        smallest: Least side in pixels.

    Returns:
        Their canvas; None if they share less.
    """
    rgb = np.ascontiguousarray(second.rgb[:, ::-1]) if alignment.mirrored else second.rgb
    outline = moved(corners(second.width, second.height), alignment.matrix)
    frame = corners(first.width, first.height)
    low = np.maximum(outline.min(axis=0), frame.min(axis=0))
    high = np.minimum(outline.max(axis=0), frame.max(axis=0))
    if shared_area(outline, frame)[0] < 64:
        return None
    step = max(1.0, alignment.scale, float((high - low).max()) / LONGEST)
    size = np.maximum(np.round((high - low) / step).astype(int), 1)
    if size.min() < smallest:
        return None
    # canvas pixel -> pixel of the first picture, whose bounding box it fills
    steps = (high - low) / size
    onto = np.array([[steps[0], 0, low[0] + 0.5 * steps[0]], [0, steps[1], low[1] + 0.5 * steps[1]]])
    back = np.asarray(cv2.invertAffineTransform(alignment.matrix), np.float64)
    from_canvas = np.hstack([back[:, :2] @ onto[:, :2], (back[:, :2] @ onto[:, 2] + back[:, 2])[:, None]])
    one = sampled(first.rgb, onto, size, step)
    other = sampled(rgb, from_canvas, size, step / alignment.scale)
    inside = _inside(from_canvas, size, second.width, second.height)
    return Canvas(one, other, inside, low, high, outline, back)


def shared_area(one: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """Intersect two convex outlines.

    Args:
        one: Corners (m, 2).
        other: Corners (n, 2).

    Returns:
        Area of what they share, and its corners; 0 and none if they share nothing.
    """
    area, shared = cv2.intersectConvexConvex(one.astype(np.float32), other.astype(np.float32))
    if shared is None:
        return 0.0, np.empty((0, 2))
    return float(area), shared.reshape(-1, 2).astype(float)


def corners(width: int, height: int) -> NDArray[np.float64]:
    """Return the outline of a picture.

    Args:
        width: Pixels.
        height: Pixels.

    Returns:
        Its corners in coordinates of pixel centres, (4, 2).
    """
    return np.array([[0, 0], [width, 0], [width, height], [0, height]], float) - 0.5


def moved(points: NDArray[np.float64], matrix: NDArray) -> NDArray[np.float64]:
    """Return points moved by a matrix.

    Args:
        points: (m, 2).
        matrix: (2, 3).

    Returns:
        The moved points, (m, 2).
    """
    return points @ matrix[:, :2].T + matrix[:, 2]


def sampled(rgb: NDArray[np.uint8], matrix: NDArray, size: NDArray, step: float) -> NDArray[np.float32]:
    """Read the pixels of a picture at the places of a canvas.

    Args:
        rgb: The picture.
        matrix: From pixels of the canvas to those of the picture, (2, 3).
        size: Width and height of the canvas.
        step: Pixels of the picture per pixel of the canvas.

    Returns:
        float32 (height, width, 3).
    """
    if step > 1.2:  # fewer samples than pixels: without a blur, details would turn into noise
        rgb = np.asarray(cv2.GaussianBlur(rgb, (0, 0), 0.45 * step, borderType=cv2.BORDER_REPLICATE), np.uint8)
    width, height = size.tolist()
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    found = cv2.warpAffine(rgb, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return found.astype(np.float32)


def _inside(matrix: NDArray, size: NDArray, width: int, height: int) -> NDArray[np.bool_]:
    """Which pixels of the canvas lie on the second picture."""
    across, down = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    x = matrix[0, 0] * across + matrix[0, 1] * down + matrix[0, 2]
    y = matrix[1, 0] * across + matrix[1, 1] * down + matrix[1, 2]
    return (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
