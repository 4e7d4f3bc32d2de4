"""Measures of pictures whose values can be worked out by hand, and planted faults among real photos."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from simsiam_retrieval.images.decode import read_image
from simsiam_retrieval.images.file_facts import reduced
from simsiam_retrieval.images.measures import MIDDLE, Measures, measure

PHOTOS = sorted((Path(__file__).parents[2] / "examples" / "photos").rglob("*.jpg"))[::6]


def test_a_picture_of_one_colour() -> None:
    found = measure(Image.new("RGB", (200, 100), (51, 51, 51)))
    assert found == Measures(0, 0.2, 0.2, 0.2, 0, 0, "")


def test_values_of_half_black_and_half_white() -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:, 32:] = 255
    found = measure(Image.fromarray(pixels), "L")
    assert (found.brightness, found.contrast, found.shadows, found.highlights) == (0.5, 0.5, 0, 1)
    assert (found.detail, found.mode) == (1, "L")  # two values, as frequent: one bit


def test_sharpness_is_what_numpy_makes_of_the_middle() -> None:
    pixels = np.random.default_rng(0).integers(100, 150, (200, 180), np.uint8)
    grey = pixels[(200 - MIDDLE) // 2 :][:MIDDLE, (180 - MIDDLE) // 2 :][:, :MIDDLE].astype(float)
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    edges = around - 4 * grey[1:-1, 1:-1]
    expected = np.square(edges).mean() / (grey.var() + 1)
    image = Image.fromarray(np.repeat(pixels[..., None], 3, axis=2))
    assert measure(image).sharpness == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (300, 2), (3, 3)])
def test_pictures_of_a_few_pixels(size: tuple[int, int]) -> None:
    assert all(np.isfinite(measure(Image.new("RGB", size))[:-1]))


def test_blurred_and_darkened_photos_come_first() -> None:
    sharp = [measure(reduced(read_image(file, 256).image)) for file in PHOTOS]
    for file, before in zip(PHOTOS, sharp, strict=True):
        image = read_image(file, 256).image
        blurred = measure(reduced(image.filter(ImageFilter.GaussianBlur(min(image.size) / 60))))
        assert blurred.sharpness < 0.2 * before.sharpness
        dark = measure(reduced(image.point([value // 8 for value in range(256)] * 3)))
        assert dark.highlights <= 0.125 <= before.highlights


def test_the_mode_is_that_of_the_file(tmp_path: Path) -> None:
    for mode in ("L", "CMYK", "RGB"):
        Image.new(mode, (40, 30)).save(tmp_path / "a.jpg")
        assert read_image(tmp_path / "a.jpg").mode == mode
