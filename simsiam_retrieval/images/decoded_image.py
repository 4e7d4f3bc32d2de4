"""A decoded file: the pixels, and what the file says about them."""

from datetime import datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image


class Decoded(NamedTuple):
    """A decoded file.

    Attributes:
        image: RGB, upright. A JPEG may have a half, quarter or eighth of the stored size.
        width: Width of the whole picture, upright, in pixels.
        height: Height of the whole picture, upright, in pixels.
        format: Pillow's name: JPEG, PNG, ...
        taken: When it was taken, by the camera's clock, if EXIF has the date.
        mode: How the file stores its pixels, as Pillow names it (RGB, L, P, ...); "" where that is not known.
        planes: For an encoder of other channels than RGB: uint8 (height, width, channels), of the image's size.
        page: Number of the page of a TIFF, or of the frame of a DICOM file, that this is.
        pages: Number of pages in full resolution of a TIFF, or of frames of a DICOM file.
    """

    image: Image.Image
    width: int
    height: int
    format: str
    taken: datetime | None = None
    mode: str = ""
    planes: NDArray[np.uint8] | None = None
    page: int = 1
    pages: int = 1
