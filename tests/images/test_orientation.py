"""EXIF orientation of every format, and JPEGs that are decoded at a part of their size."""

import numpy as np
import pytest
from PIL import Image, features

from simsiam_retrieval.images.decode import decode, read_image
from tests.support.image_files import asymmetrical, encoded, with_orientation


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_of_a_jpeg(orientation):
    upright = asymmetrical()
    content = with_orientation(upright, orientation, "JPEG", quality=95, subsampling=0)
    image, width, height, file_format, *_ = read_image(content)
    assert (width, height, file_format) == (80, 48, "JPEG")
    assert image.size == (80, 48) and image.mode == "RGB"
    assert np.abs(np.asarray(image, int) - upright).mean() < 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_draft_is_upright_and_the_full_size_is_reported(orientation):
    upright = asymmetrical(480, 800)
    content = with_orientation(upright, orientation, "JPEG", quality=95, subsampling=0)
    image, width, height, _, *_ = read_image(content, short_side=100)
    assert (width, height) == (800, 480)
    assert image.size == (200, 120)  # a quarter; an eighth would have 60 pixels
    assert np.abs(np.asarray(image, int) - asymmetrical(120, 200)).mean() < 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "WEBP", "AVIF"])
def test_exif_orientation_of_other_formats(file_format, orientation):
    if not features.check({"WEBP": "webp", "AVIF": "avif", "TIFF": "libtiff"}.get(file_format, "zlib")):
        pytest.skip(f"this Pillow has no {file_format}")
    upright = asymmetrical()
    lossless = {"lossless": True} if file_format == "WEBP" else {}
    image, width, height, found, *_ = read_image(with_orientation(upright, orientation, file_format, **lossless))
    assert (width, height, found) == (80, 48, file_format)
    assert image.size == (80, 48)
    assert np.abs(np.asarray(image, int) - upright).mean() < 3


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_changes_nothing(value):
    exif = Image.Exif()
    exif[0x0112] = value
    assert decode(encoded(Image.new("RGB", (30, 20)), "JPEG", exif=exif)).size == (30, 20)


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (1000, 999), (94, 94), (220, 220), (155, 1240), (2000, 130)])
def test_a_draft_keeps_the_short_side_and_the_shape(size):
    content = encoded(Image.new("RGB", size, (10, 200, 30)), "JPEG")
    for asked in (1, 8, 16, 47, 48, 56, 64, 78, 100, 120, 128, 240, 256, 480, 2000):
        image, width, height, _, *_ = read_image(content, short_side=asked)
        assert (width, height) == size
        assert min(image.size) >= min(asked, *size), f"asked for {asked}"
        assert image.width / image.height == pytest.approx(width / height, rel=0.1)


def test_a_draft_is_used_where_it_can_be():
    """The point of the hint: decoding a large photo for a small view makes no large picture."""
    content = encoded(Image.new("RGB", (1600, 1200)), "JPEG")
    assert decode(content, short_side=150).size == (200, 150)
    assert decode(content, short_side=151).size == (400, 300)
    assert decode(content, short_side=601).size == (1600, 1200)
