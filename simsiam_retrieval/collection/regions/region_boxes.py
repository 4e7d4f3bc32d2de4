"""Which regions of a picture have a vector: squares at two scales, at the corners, along the sides and between."""

import math

import numpy as np
from numpy.typing import NDArray

SCALES = (math.sqrt(0.5), 0.5)  # side of a square / short side of the picture; benchmarks/regions.py
STEP = 1.15  # distance of neighbouring squares / their side, at most; the picture's own vector covers the gaps
MOST_PLACES = 24  # squares along a side; those of longer pictures stand farther apart


def region_boxes(width: int, height: int) -> NDArray[np.float32]:
    """Return the regions of a picture.

    A square picture has 10, one of 4:3 or 3:2 has 12, one of 16:9 has 18. At each scale two rows of squares touch the
    long sides. A row in the middle has one square in the centre and others at the same distance.

    Args:
        width: Pixels, upright.
        height: Pixels, upright.

    Returns:
        Left, top, width and height of each as fractions of the picture, float32 (m, 4).
    """
    short, long = min(width, height), max(width, height)
    boxes = []
    for scale in SCALES:
        side, room = scale, long / short - scale
        places = min(MOST_PLACES, 1 + math.ceil(round(room / (STEP * side), 6)))
        step = room / (places - 1)
        rows = [(place * step, edge) for edge in (0.0, 1 - side) for place in range(places)]
        middle = range(places - 1) if places % 2 == 0 else range(1, places - 1)
        rows += [((place + (places % 2 == 0) / 2) * step, (1 - side) / 2) for place in middle]
        boxes += [(along * short / long, across, side * short / long, side) for along, across in rows]
    found = np.array(boxes, np.float64)
    if height > width:
        found = found[:, [1, 0, 3, 2]]
    return np.clip(found, 0, 1).astype(np.float32)


def own_box(width: int, height: int) -> tuple[float, float, float, float]:
    """Return the part of a picture that its own vector describes: see ``images/centre_crop.py``.

    Args:
        width: Pixels, upright.
        height: Pixels, upright.

    Returns:
        Left, top, width and height as fractions of the picture.
    """
    from ...images.centre_crop import LONG

    short, long = min(width, height), max(width, height)
    if long > LONG * short:
        return 0.0, 0.0, 1.0, 1.0
    across, down = short / width, short / height
    return (1 - across) / 2, (1 - down) / 2, across, down
