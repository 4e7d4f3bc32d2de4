"""Where a picture lies on another one: over the whole frame, turned or mirrored, or as a part that features find."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .picture import Features, Picture

COARSE = 24  # side in pixels of the small squares that are compared in all eight orientations
ALIKE = 0.6  # least correlation of these squares for an orientation to be looked at more closely
ASPECT = 1.04  # largest ratio of two aspect ratios that count as one
RATIO = 0.8  # Lowe's ratio test
REPROJECTION = 3.0  # pixels
LEAST_INLIERS = 5  # few: what counts is whether the pixels agree
LARGEST_SCALE = 12.0


@dataclass(frozen=True)
class Alignment:
    """A similarity transform, or a stretch to the same frame, from the second picture's pixels to the first one's.

    Attributes:
        matrix: float64 (2, 3), from pixels (x, y) of the second picture, mirrored first if so.
        mirrored: Whether the second picture is mirrored left to right first.
        inliers: Number of features that agree; 0 where the frames were laid over each other.
    """

    matrix: NDArray[np.float64]
    mirrored: bool = False
    inliers: int = 0

    @property
    def turned(self) -> float:
        """Degrees by which the second picture is turned, in (-180, 180]."""
        return float(np.degrees(np.arctan2(self.matrix[1, 0], self.matrix[0, 0])))

    @property
    def scale(self) -> float:
        """Pixels of the first picture per pixel of the second one."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix[:, :2]))))


def over_the_frame(first: Picture, second: Picture) -> list[Alignment]:
    """Lay the whole second picture over the whole first one, in the orientations that look similar.

    Args:
        first: The one picture.
        second: The other one.

    Returns:
        The alignments, the most similar first; few or none.
    """
    base = _square(first.grey)
    found = []
    for mirrored in (False, True):
        for quarters in range(4):
            grey = second.grey[:, ::-1] if mirrored else second.grey
            height, width = grey.shape if quarters % 2 == 0 else grey.shape[::-1]
            ratio = (first.width / first.height) / (width / height)
            if not 1 / ASPECT <= ratio <= ASPECT:
                continue
            alike = float((base * np.rot90(_square(grey), -quarters)).mean())
            if alike >= ALIKE:
                found.append((alike, Alignment(_onto(first, second, quarters), mirrored)))
    return [alignment for _, alignment in sorted(found, key=lambda one: -one[0])]


def _square(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    small = cv2.resize(np.ascontiguousarray(grey), (COARSE, COARSE), interpolation=cv2.INTER_AREA)
    return (small - small.mean()) / max(float(small.std()), 1e-3)


def _onto(first: Picture, second: Picture, quarters: int) -> NDArray[np.float64]:
    """Matrix that turns the second picture clockwise by quarters, and stretches it over the first one's frame."""
    width, height = second.width, second.height
    # the edges of the picture, not the centres of its outer pixels, come to lie on each other
    turn = {
        0: [[1, 0, 0], [0, 1, 0]],
        1: [[0, -1, height], [1, 0, 0]],
        2: [[-1, 0, width], [0, -1, height]],
        3: [[0, 1, 0], [-1, 0, width]],
    }[quarters]
    if quarters % 2:
        width, height = height, width
    stretch = np.diag([first.width / width, first.height / height])
    matrix = stretch @ np.array(turn, float)
    matrix[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
    return matrix


def by_features(first: Picture, second: Picture) -> Iterator[Alignment]:
    """Find where local features of both pictures agree: SIFT, Lowe's ratio test, RANSAC for a similarity.

    Args:
        first: The one picture.
        second: The other one.

    Yields:
        An alignment of the picture as it is, then of the mirrored one, where there are any.
    """
    for mirrored in (False, True):
        found = _similarity(first.features, second.mirrored_features if mirrored else second.features)
        if found is not None:
            yield Alignment(found[0], mirrored, found[1])


def _similarity(first: Features, second: Features) -> tuple[NDArray[np.float64], int] | None:
    (places, described), (other_places, other_described) = first, second
    if len(places) < LEAST_INLIERS or len(other_places) < LEAST_INLIERS:
        return None
    nearest, clear = clear_matches(other_described @ described.T, places)
    if clear.sum() < LEAST_INLIERS:
        return None
    source, target = other_places[clear], places[nearest[clear]]
    cv2.setRNGSeed(0)
    matrix, inside = cv2.estimateAffinePartial2D(
        source, target, method=cv2.RANSAC, ransacReprojThreshold=REPROJECTION, maxIters=3000, confidence=0.999
    )
    if matrix is None or not np.isfinite(matrix).all():
        return None
    # several features of one place, or many to one, count once
    agreeing = len(np.unique(np.round(target[inside.ravel() > 0] / REPROJECTION), axis=0))
    agreeing = min(agreeing, len(np.unique(np.round(source[inside.ravel() > 0] / REPROJECTION), axis=0)))
    scale = np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    if agreeing < LEAST_INLIERS or not 1 / LARGEST_SCALE <= scale <= LARGEST_SCALE:
        return None
    return np.asarray(matrix, np.float64), agreeing


def clear_matches(cosine: NDArray[np.float32], places: NDArray[np.float32]) -> tuple[NDArray, NDArray[np.bool_]]:
    """Apply Lowe's ratio test: the nearest feature must be clearly nearer than the next one that is elsewhere.

    Args:
        cosine: Of unit vectors of features, float32 (m, n); changed.
        places: Places of the n features in pixels, float32 (n, 2).

    Returns:
        The nearest of the n features of each of the m, (m,), and whether it is clear, (m,).
    """
    # of unit vectors: squared distance is 2 - 2 cosine
    rows = np.arange(len(cosine))
    nearest = cosine.argmax(axis=1)
    best = cosine[rows, nearest]
    cosine[rows, nearest] = -1
    second = cosine.argmax(axis=1)
    rest = cosine[rows, second]
    # a second feature at the same place is no contradiction: the next one that is elsewhere counts
    beside = np.flatnonzero(np.hypot(*(places[second] - places[nearest]).T) < 2 * REPROJECTION)
    if len(beside):
        away = np.hypot(*(places[nearest[beside]][:, None] - places[None]).transpose(2, 0, 1)) >= 2 * REPROJECTION
        rest[beside] = np.where(away, cosine[beside], -1).max(axis=1)
    return nearest, 1 - best < RATIO**2 * (1 - rest)
