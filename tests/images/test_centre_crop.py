"""The square that encoders see."""

import numpy as np
import pytest
from PIL import Image

from simsiam_retrieval.images.centre_crop import centre_square


@pytest.mark.parametrize("size", [(50, 50), (50, 31), (31, 50), (201, 100), (100, 201), (9, 22), (5, 2)])
@pytest.mark.parametrize("side", [8, 32, 100])
def test_centre_square_is_a_crop_and_then_a_resize(size, side):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    short = min(size)
    top, left = (size[1] - short) // 2, (size[0] - short) // 2
    cropped = Image.fromarray(np.ascontiguousarray(pixels[top : top + short, left : left + short]))
    expected = np.asarray(cropped.resize((side, side), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(np.asarray(centre_square(Image.fromarray(pixels), side)), expected)


@pytest.mark.parametrize("size", [(1280, 256), (360, 2400), (9, 300), (1, 7)])
def test_long_pictures_are_seen_whole(size):
    """Panoramas that share their middle are different pictures."""
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    expected = np.asarray(Image.fromarray(pixels).resize((32, 32), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(np.asarray(centre_square(Image.fromarray(pixels), 32)), expected)


def test_nothing_outside_the_square_bleeds_in():
    pixels = np.zeros((20, 48, 3), np.uint8)
    pixels[:, 14:34] = 255
    assert np.asarray(centre_square(Image.fromarray(pixels), 7)).min() == 255
