"""What two aligned pictures have in common: cell by cell, how well their details correlate."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .alignment import Alignment
from .picture import Picture

CANVAS = 192  # longest side in pixels on which the shared part is compared
CELLS = 12  # cells along the longer side
SMALLEST_CELL = 6  # pixels
TEXTURE = 2.5  # least standard deviation, of 255, of a cell's details that says anything
SHIFT = 1  # pixels by which a cell may be off
SAME = 0.6  # least correlation of a cell that agrees
CLEAR = 0.8  # correlation below which a cell of a clear copy was changed
BLUR = 0.8  # pixels; hides most of what JPEG does
AGREES, DIFFERS, PLAIN_SAME, PLAIN_OTHER = 1.0, -1.2, 0.05, -0.5  # weights of cells in the search for the shared part
SNAP = 0.7  # fraction of the overlap, and of the weights, from which all of it counts
OFF = 20.0  # brightness, of 255, by which plain cells differ

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Agreement:
    """How far two pictures agree where one lies on the other, within the rectangle that they share.

    Attributes:
        textured: Number of cells of the rectangle with details in at least one picture.
        agreeing: Fraction of these cells whose details correlate in both.
        correlation: Median correlation of the cells that agree; 0 without any.
        changed: Fraction of the textured cells whose correlation is below ``CLEAR``.
        first_box: The rectangle in the first picture: left, top, width, height as fractions.
        second_box: The same in the second picture.
        first_share: Fraction of the first picture's area that is shared.
        second_share: Fraction of the second picture's area that is shared.
        colour: Median difference of the cells' colours (Cb, Cr), of 255.
        brightness: Median difference of the cells' brightness, of 255.
        difference: Mean difference of all pixels that lie on both pictures, of 255.
        contrast: Standard deviation of these pixels, of 255.
    """

    textured: int
    agreeing: float
    correlation: float
    changed: float
    first_box: Box
    second_box: Box
    first_share: float
    second_share: float
    colour: float
    brightness: float
    difference: float
    contrast: float

    @property
    def evidence(self) -> float:
        """Cells that agree, less those that differ."""
        return self.textured * (2 * self.agreeing - 1)


def agreement(first: Picture, second: Picture, alignment: Alignment) -> Agreement | None:
    """Compare two aligned pictures.

    Args:
        first: The one picture.
        second: The other one.
        alignment: Where the second one lies on the first one.

    Returns:
        What they have in common; None if they share no more than a few pixels.
    """
    rgb = np.ascontiguousarray(second.rgb[:, ::-1]) if alignment.mirrored else second.rgb
    outline = _moved(_corners(second.width, second.height), alignment.matrix)
    frame = _corners(first.width, first.height)
    area, shared = cv2.intersectConvexConvex(outline.astype(np.float32), frame.astype(np.float32))
    if shared is None or area < 64:
        return None
    low = np.maximum(outline.min(axis=0), frame.min(axis=0))
    high = np.minimum(outline.max(axis=0), frame.max(axis=0))
    step = max(1.0, alignment.scale, float((high - low).max()) / CANVAS)
    size = np.maximum(np.round((high - low) / step).astype(int), 1)
    if size.min() < 2 * SMALLEST_CELL:
        return None
    # canvas pixel -> pixel of the first picture, whose bounding box it fills
    steps = (high - low) / size
    onto = np.array([[steps[0], 0, low[0] + 0.5 * steps[0]], [0, steps[1], low[1] + 0.5 * steps[1]]])
    back = cv2.invertAffineTransform(alignment.matrix)
    from_canvas = np.hstack([back[:, :2] @ onto[:, :2], (back[:, :2] @ onto[:, 2] + back[:, 2])[:, None]])
    one = sampled(first.rgb, onto, size, step)
    other = sampled(rgb, from_canvas, size, step / alignment.scale)
    both = _inside(from_canvas, size, second.width, second.height)
    cells = compare_cells(one, other, both)
    part = best_rectangle(cells.weights)
    if part is None:
        return None
    part = _snapped(part, cells)
    edges = _edges(part, cells, low, high, steps)
    rectangle = np.array([edges[[0, 1]], edges[[2, 1]], edges[[2, 3]], edges[[0, 3]]])
    area, shared = cv2.intersectConvexConvex(outline.astype(np.float32), rectangle.astype(np.float32))
    if shared is None or area < 16:
        return None
    in_second = _moved(shared.reshape(-1, 2).astype(float), back)
    if alignment.mirrored:
        in_second[:, 0] = second.width - 1 - in_second[:, 0]
    top, left, bottom, right = part
    inside = np.zeros(cells.weights.shape, bool)
    inside[top:bottom, left:right] = True
    textured = inside & cells.textured
    agreeing = textured & (cells.correlation >= SAME)
    changed = textured & (cells.correlation < CLEAR)
    known = inside & cells.whole
    return Agreement(
        textured=int(textured.sum()),
        agreeing=float(agreeing.sum() / max(textured.sum(), 1)),
        correlation=float(np.median(cells.correlation[agreeing])) if agreeing.any() else 0.0,
        changed=float(changed.sum() / max(textured.sum(), 1)),
        first_box=_box(shared.reshape(-1, 2), first.width, first.height),
        second_box=_box(in_second, second.width, second.height),
        first_share=min(1.0, area / (first.width * first.height)),
        second_share=min(1.0, area / alignment.scale**2 / (second.width * second.height)),
        colour=float(np.median(cells.colour[known])) if known.any() else 0.0,
        brightness=float(np.median(np.abs(cells.brightness[known]))) if known.any() else 0.0,
        difference=float(np.abs(one - other)[both].mean()) if both.any() else 255.0,
        contrast=float(one[both].std(axis=0).max()) if both.any() else 0.0,
    )


@dataclass(frozen=True)
class Cells:
    """The cells of a canvas, all (rows, columns).

    Attributes:
        side: Pixels.
        offset: Pixels above and left of the first cell.
        whole: Whether the cell lies on both pictures.
        textured: Whether it has details in at least one of them.
        correlation: Of the details of both.
        colour: Distance of its colours (Cb, Cr), of 255.
        brightness: Difference of its brightness, of 255.
    """

    side: int
    offset: tuple[int, int]
    whole: NDArray[np.bool_]
    textured: NDArray[np.bool_]
    correlation: NDArray[np.float32]
    colour: NDArray[np.float32]
    brightness: NDArray[np.float32]

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
    offset = (inside.shape[0] % cell // 2, inside.shape[1] % cell // 2)
    return Cells(cell, offset, whole, whole & (spread >= TEXTURE), best, np.hypot(red, blue), luma)


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


def _snapped(part: tuple[int, int, int, int], cells: Cells) -> tuple[int, int, int, int]:
    """All of the overlap where the rectangle is most of it and the rest does not speak against it much."""
    top, left, bottom, right = part
    weights = cells.weights
    rows, columns = weights.shape
    most = (bottom - top) * (right - left) >= SNAP * rows * columns
    if most and weights.sum() >= SNAP * weights[top:bottom, left:right].sum():
        return 0, 0, rows, columns
    return part


def _edges(part: tuple[int, int, int, int], cells: Cells, low: NDArray, high: NDArray, steps: NDArray) -> NDArray:
    """Left, top, right, bottom of a rectangle in the first picture; where it reaches the last cell, all there is."""
    top, left, bottom, right = part
    rows, columns = cells.weights.shape
    down, across = cells.offset
    return np.array(
        [
            low[0] if left == 0 else low[0] + (across + left * cells.side) * steps[0],
            low[1] if top == 0 else low[1] + (down + top * cells.side) * steps[1],
            high[0] if right == columns else low[0] + (across + right * cells.side) * steps[0],
            high[1] if bottom == rows else low[1] + (down + bottom * cells.side) * steps[1],
        ]
    )


def _corners(width: int, height: int) -> NDArray[np.float64]:
    return np.array([[0, 0], [width, 0], [width, height], [0, height]], float) - 0.5


def _moved(points: NDArray[np.float64], matrix: NDArray) -> NDArray[np.float64]:
    return points @ matrix[:, :2].T + matrix[:, 2]


def _box(points: NDArray, width: int, height: int) -> Box:
    low, high = points.min(axis=0) + 0.5, points.max(axis=0) + 0.5
    left, top = np.clip(low / [width, height], 0, 1)
    right, bottom = np.clip(high / [width, height], 0, 1)
    return float(left), float(top), float(right - left), float(bottom - top)


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


def _details(image: NDArray[np.float32], cell: int) -> NDArray[np.float32]:
    """Brightness without what varies over more than a cell: all skies have the same slow gradient."""
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (0, 0), BLUR)
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
