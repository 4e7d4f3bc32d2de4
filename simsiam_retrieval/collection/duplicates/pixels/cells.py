"""Two pictures of one canvas, compared cell by cell: how well their details correlate."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

CELLS = 12  # cells along the longer side
SMALLEST_CELL = 6  # pixels
TEXTURE = 2.5  # least standard deviation, of 255, of a cell's details that says anything
SHIFT = 1  # pixels by which a cell may be off
SAME = 0.6  # least correlation of a cell that agrees
CLEAR = 0.8  # correlation below which a cell of a clear copy was changed
BLUR = 0.8  # pixels; hides most of what JPEG does
AGREES, DIFFERS, PLAIN_SAME, PLAIN_OTHER = 1.0, -1.2, 0.05, -0.5  # weights of cells in the search for the shared part
OFF = 20.0  # brightness, of 255, by which plain cells differ
CHANGED_LIGHT = 6.0  # difference of brightness or colour, of 255, from which a cell was changed
RICH = 1.0  # least squared slope of a cell's brightness in every direction; along a straight edge there is none


@dataclass(frozen=True)
class Cells:
    """The cells of a canvas, all (rows, columns).

    Attributes:
        side: Pixels.
        offset: Pixels above and left of the first cell.
        whole: Whether the cell lies on both pictures.
        textured: Whether it has details in at least one of them.
        rich: Whether it has details in every direction in at least one of them: more than straight edges, such as those
            of a frame.
        correlation: Of the details of both.
        colour: Distance of its colours (Cb, Cr), of 255.
        brightness: Difference of its brightness, of 255.
    """

    side: int
    offset: tuple[int, int]
    whole: NDArray[np.bool_]
    textured: NDArray[np.bool_]
    rich: NDArray[np.bool_]
    correlation: NDArray[np.float32]
    colour: NDArray[np.float32]
    brightness: NDArray[np.float32]

    @property
    def light(self) -> NDArray[np.float32]:
        """The larger one of the differences of brightness and colour, of 255."""
        return np.maximum(np.abs(self.brightness), self.colour)

    @property
    def same(self) -> NDArray[np.bool_]:
        """Whether the cell lies on both pictures, and neither its details nor its light and colour were changed."""
        return self.whole & ~(self.textured & (self.correlation < CLEAR)) & (self.light <= CHANGED_LIGHT)

    @property
    def weights(self) -> NDArray[np.float64]:
        """How much each cell speaks for the same picture; 0 outside."""
        known = self.brightness[self.whole]
        off = np.abs(self.brightness - (np.median(known) if known.size else 0)) > OFF
        plain = np.where(off, PLAIN_OTHER, PLAIN_SAME)
        found = np.where(self.textured, np.where(self.correlation >= SAME, AGREES, DIFFERS), plain)
        return np.where(self.whole, found, 0.0)


def compare_cells(one: NDArray[np.float32], other: NDArray[np.float32], inside: NDArray[np.bool_]) -> Cells:
    """Compare two pictures of the same size cell by cell.

    Args:
        one: RGB in [0, 255], float32 (height, width, 3).
        other: The same.
        inside: Pixels that lie on both pictures, (height, width).

    Returns:
        The cells.
    """
    cell = max(SMALLEST_CELL, round(max(inside.shape) / CELLS))
    details = [_details(image, cell) for image in (one, other)]
    whole = _means(inside.astype(np.float32), cell) > 0.999
    spread = np.sqrt(np.maximum(np.maximum(*(_variance(image, cell) for image in details)), 0))
    best = np.full(whole.shape, -1, np.float32)
    for down in range(-SHIFT, SHIFT + 1):
        for across in range(-SHIFT, SHIFT + 1):
            moved = np.roll(details[1], (down, across), (0, 1))
            best = np.maximum(best, _correlation(details[0], moved, cell))
    apart = cv2.cvtColor(one / 255, cv2.COLOR_RGB2YCrCb) - cv2.cvtColor(other / 255, cv2.COLOR_RGB2YCrCb)
    luma, red, blue = (255 * _means(np.asarray(apart[:, :, channel], np.float32), cell) for channel in range(3))
    rich = whole & (np.maximum(_slope(one, cell), _slope(other, cell)) >= RICH)
    offset = (inside.shape[0] % cell // 2, inside.shape[1] % cell // 2)
    return Cells(cell, offset, whole, whole & (spread >= TEXTURE), rich, best, np.hypot(red, blue), luma)


def best_rectangle(weights: NDArray[np.float64]) -> tuple[int, int, int, int] | None:
    """Find the rectangle of cells with the largest sum.

    Args:
        weights: float64 (rows, columns).

    Returns:
        Its top, left, bottom and right, the last two not included; None without a positive sum.
    """
    rows, columns = weights.shape
    best, found = 0.0, None
    for top in range(rows):
        strip = np.zeros(columns)
        for bottom in range(top + 1, rows + 1):
            strip += weights[bottom - 1]
            total = np.concatenate([[0.0], np.cumsum(strip)])
            # sum of columns left..right-1 is total[right] - total[left]
            lowest = np.minimum.accumulate(total)
            gain = total - lowest
            right = int(gain.argmax())
            if gain[right] > best:
                left = int(np.flatnonzero(total[:right] == lowest[right])[0])
                best, found = float(gain[right]), (top, left, bottom, right)
    return found


def _soft(image: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (0, 0), BLUR), np.float32)


def _slope(image: NDArray[np.float32], cell: int) -> NDArray[np.float32]:
    """Mean squared slope of each cell's brightness in its flattest direction (Harris and Stephens 1988)."""
    down, across = np.gradient(_soft(image))
    one, other, both = (
        _means(np.asarray(product, np.float32), cell) for product in (across * across, down * down, across * down)
    )
    return np.asarray((one + other - np.sqrt((one - other) ** 2 + 4 * both**2)) / 2, np.float32)


def _details(image: NDArray[np.float32], cell: int) -> NDArray[np.float32]:
    """Brightness without what varies over more than a cell: all skies have the same slow gradient."""
    grey = _soft(image)
    slow = cv2.GaussianBlur(grey, (0, 0), cell / 2, borderType=cv2.BORDER_REFLECT)
    return np.asarray(grey - slow, np.float32)


def _means(image: NDArray[np.float32], cell: int) -> NDArray[np.float32]:
    """Mean of each cell; what does not fill a cell is left out, half of it on each side."""
    rows, columns = image.shape[0] // cell, image.shape[1] // cell
    top, left = (image.shape[0] - rows * cell) // 2, (image.shape[1] - columns * cell) // 2
    cut = image[top : top + rows * cell, left : left + columns * cell]
    return cut.reshape(rows, cell, columns, cell).mean(axis=(1, 3))


def _variance(image: NDArray[np.float32], cell: int) -> NDArray[np.float32]:
    return _means(image * image, cell) - _means(image, cell) ** 2


def _correlation(one: NDArray[np.float32], other: NDArray[np.float32], cell: int) -> NDArray[np.float32]:
    product = _means(one * other, cell) - _means(one, cell) * _means(other, cell)
    spread = _variance(one, cell) * _variance(other, cell)
    return np.asarray(product / np.sqrt(np.maximum(spread, 1e-4)), np.float32)
