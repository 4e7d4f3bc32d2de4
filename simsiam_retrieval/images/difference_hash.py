"""A hash of the coarse light and dark of a picture, which hard compression, texts and grey do not change much."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

GRID = 8  # 8 x 8 differences across, and as many down
BITS = 2 * GRID * GRID


def difference_hash(image: Image.Image) -> NDArray[np.uint8]:
    """Hash a picture by whether brightness rises from cell to cell, across and down.

    Args:
        image: Of any size and mode that Pillow can turn to grey.

    Returns:
        128 bits, uint8 (16,).
    """
    grey = image.convert("L")
    across = np.asarray(grey.resize((GRID + 1, GRID), Image.Resampling.BOX), np.int16)
    down = np.asarray(grey.resize((GRID, GRID + 1), Image.Resampling.BOX), np.int16)
    bits = np.concatenate([(np.diff(across, axis=1) > 0).ravel(), (np.diff(down, axis=0) > 0).ravel()])
    return np.packbits(bits)
