"""What two aligned pictures have in common: the rectangle that agrees, and what is untouched in all of the overlap."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .alignment import Alignment
from .canvas import Canvas, canvas, corners, moved, shared_area
from .cells import CLEAR, SAME, SMALLEST_CELL, Cells, best_rectangle, compare_cells
from .picture import Picture

SNAP = 0.7  # fraction of the overlap, and of the weights, from which all of it counts

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Untouched:
    """What is the same, with equal light and colour, in all of the overlap of two pictures.

    Attributes:
        cells: Number of rich cells (with details in every direction) that are the same.
        fraction: Fraction of all rich cells that are the same.
        correlation: Median correlation of these.
        light: 90th percentile of the differences of light and colour of all cells that are the same, of 255.
        area: Fraction of all cells that are the same, plain ones included.
    """

    cells: int
    fraction: float
    correlation: float
    light: float
    area: float


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
        overlap: Fractions of the first and the second picture's area that lie on the other one.
        untouched: What is the same there, also outside the rectangle.
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
    overlap: tuple[float, float]
    untouched: Untouched

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
    laid = canvas(first, second, alignment, 2 * SMALLEST_CELL)
    if laid is None:
        return None
    cells = compare_cells(laid.one, laid.other, laid.inside)
    part = best_rectangle(cells.weights)
    if part is None:
        return None
    part = _snapped(part, cells)
    edges = _edges(part, cells, laid)
    rectangle = np.array([edges[[0, 1]], edges[[2, 1]], edges[[2, 3]], edges[[0, 3]]])
    area, shared = shared_area(laid.outline, rectangle)
    if area < 16:
        return None
    in_second = moved(shared, laid.back)
    if alignment.mirrored:
        in_second[:, 0] = second.width - 1 - in_second[:, 0]
    top, left, bottom, right = part
    inside = np.zeros(cells.weights.shape, bool)
    inside[top:bottom, left:right] = True
    textured = inside & cells.textured
    agreeing = textured & (cells.correlation >= SAME)
    changed = textured & (cells.correlation < CLEAR)
    known = inside & cells.whole
    both = laid.inside
    sizes = np.array([first.width * first.height, second.width * second.height * alignment.scale**2])
    first_share, second_share = np.minimum(1, area / sizes).tolist()
    overlap = shared_area(laid.outline, corners(first.width, first.height))[0]
    return Agreement(
        textured=int(textured.sum()),
        agreeing=float(agreeing.sum() / max(textured.sum(), 1)),
        correlation=float(np.median(cells.correlation[agreeing])) if agreeing.any() else 0.0,
        changed=float(changed.sum() / max(textured.sum(), 1)),
        first_box=_box(shared, first.width, first.height),
        second_box=_box(in_second, second.width, second.height),
        first_share=first_share,
        second_share=second_share,
        colour=float(np.median(cells.colour[known])) if known.any() else 0.0,
        brightness=float(np.median(np.abs(cells.brightness[known]))) if known.any() else 0.0,
        difference=float(np.abs(laid.one - laid.other)[both].mean()) if both.any() else 255.0,
        contrast=float(laid.one[both].std(axis=0).max()) if both.any() else 0.0,
        overlap=(overlap / sizes[0], overlap / sizes[1]),
        untouched=_untouched(cells),
    )


def _untouched(cells: Cells) -> Untouched:
    same = cells.same
    rich = cells.rich & same
    count = int(rich.sum())
    return Untouched(
        cells=count,
        fraction=count / max(int(cells.rich.sum()), 1),
        correlation=float(np.median(cells.correlation[rich])) if count else 0.0,
        light=float(np.percentile(cells.light[same], 90)) if same.any() else 255.0,
        area=float(same.sum() / max(int(cells.whole.sum()), 1)),
    )


def _snapped(part: tuple[int, int, int, int], cells: Cells) -> tuple[int, int, int, int]:
    """All of the overlap where the rectangle is most of it and the rest does not speak against it much."""
    top, left, bottom, right = part
    weights = cells.weights
    rows, columns = weights.shape
    most = (bottom - top) * (right - left) >= SNAP * rows * columns
    if most and weights.sum() >= SNAP * weights[top:bottom, left:right].sum():
        return 0, 0, rows, columns
    return part


def _edges(part: tuple[int, int, int, int], cells: Cells, laid: Canvas) -> NDArray:
    """Left, top, right, bottom of a rectangle in the first picture; where it reaches the last cell, all there is."""
    top, left, bottom, right = part
    rows, columns = cells.weights.shape
    down, across = cells.offset
    steps = (laid.high - laid.low) / laid.one.shape[1::-1]
    return np.array(
        [
            laid.low[0] if left == 0 else laid.low[0] + (across + left * cells.side) * steps[0],
            laid.low[1] if top == 0 else laid.low[1] + (down + top * cells.side) * steps[1],
            laid.high[0] if right == columns else laid.low[0] + (across + right * cells.side) * steps[0],
            laid.high[1] if bottom == rows else laid.low[1] + (down + bottom * cells.side) * steps[1],
        ]
    )


def _box(points: NDArray, width: int, height: int) -> Box:
    low, high = points.min(axis=0) + 0.5, points.max(axis=0) + 0.5
    left, top = np.clip(low / [width, height], 0, 1)
    right, bottom = np.clip(high / [width, height], 0, 1)
    return float(left), float(top), float(right - left), float(bottom - top)
