"""A picture as the comparison needs it: small, in grey, with its local features computed once."""

from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 512  # longest side in pixels that is compared
LEAST = 320  # smaller pictures are enlarged to this longest side before their features are computed
MOST_FEATURES = 700
SHIFTED = 0.25  # pixels to the right and down by which OpenCV's SIFT finds everything: the mirror image shows it
CONTRAST = 0.02  # half of SIFT's default: small and soft pictures have few strong features

# SIFT's 4 x 4 histograms of 8 angles, as OpenCV orders them: rows lie across the feature's direction
_MIRRORED = np.arange(128).reshape(4, 4, 8)[::-1, :, (-np.arange(8)) % 8].ravel()

Features = tuple[NDArray[np.float32], NDArray[np.float32]]


class Picture:
    """A picture of at most ``SIDE`` pixels.

    Args:
        image: RGB, upright, of any size.
    """

    def __init__(self, image: Image.Image) -> None:
        image = image.convert("RGB")
        if max(image.size) > SIDE:
            factor = SIDE / max(image.size)
            size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
            image = image.resize(size, Image.Resampling.BOX if factor < 0.5 else Image.Resampling.LANCZOS)
        self.rgb: NDArray[np.uint8] = np.asarray(image)

    @property
    def width(self) -> int:
        """Pixels."""
        return self.rgb.shape[1]

    @property
    def height(self) -> int:
        """Pixels."""
        return self.rgb.shape[0]

    @cached_property
    def grey(self) -> NDArray[np.float32]:
        """Brightness in [0, 255], float32 (height, width)."""
        return cv2.cvtColor(self.rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)

    @cached_property
    def features(self) -> Features:
        """SIFT features (Lowe 2004) as RootSIFT (Arandjelovic and Zisserman 2012).

        Places in pixels, float32 (m, 2), and unit vectors, float32 (m, 128).
        """
        return _features(self.grey)

    @cached_property
    def mirrored_features(self) -> Features:
        """Features of the picture mirrored left to right, at their places in the mirrored picture.

        Mirroring swaps the histograms on the two sides of a feature's direction, and the sense of their angles, so that
        nothing is computed twice.
        """
        places, described = self.features
        return np.stack([self.width - 1 - places[:, 0], places[:, 1]], 1), described[:, _MIRRORED]


def _features(grey: NDArray[np.float32]) -> Features:
    pixels = np.clip(grey + 0.5, 0, 255).astype(np.uint8)
    factor = max(1.0, LEAST / max(grey.shape))
    if factor > 1:
        size = (round(grey.shape[1] * factor), round(grey.shape[0] * factor))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC)
    detector = cv2.SIFT.create(nfeatures=MOST_FEATURES, contrastThreshold=CONTRAST)
    found, described = detector.detectAndCompute(pixels, None)
    if described is None or not len(found):
        return np.empty((0, 2), np.float32), np.empty((0, 128), np.float32)
    scale = np.array([grey.shape[1] / pixels.shape[1], grey.shape[0] / pixels.shape[0]], np.float32)
    places = (np.array([point.pt for point in found], np.float32) + 0.5 - SHIFTED) * scale - 0.5
    roots = np.sqrt(described / np.maximum(described.sum(axis=1, keepdims=True), 1e-12))
    return places.astype(np.float32), np.ascontiguousarray(roots, np.float32)
