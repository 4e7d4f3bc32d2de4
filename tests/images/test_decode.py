"""Which files are decoded: sources, formats, animations."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from simsiam_retrieval.images import pillow_files
from simsiam_retrieval.images.decode import ImageError, decode, read_image
from tests.support.image_files import HEIC, asymmetrical, encoded


def test_paths_bytes_and_open_files_are_the_same(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    file = tmp_path / "image.png"
    Image.fromarray(pixels).save(file)
    with file.open("rb") as opened:
        for source in (file, file.read_bytes(), opened):
            np.testing.assert_array_equal(np.asarray(decode(source)), pixels)


def test_the_name_does_not_matter(tmp_path):
    file = tmp_path / "really-a-png.jpg"
    Image.new("RGB", (7, 5), (1, 2, 3)).save(file, "PNG")
    image, width, height, file_format, *_ = read_image(file, short_side=2)
    assert (image.size, width, height, file_format) == ((7, 5), 7, 5, "PNG")
    assert image.getpixel((3, 3)) == (1, 2, 3)


def test_of_an_animation_the_first_frame_counts():
    frames = [Image.new("RGB", (20, 10), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    optional = [name for name in ("WEBP", "AVIF") if features.check(name.lower())]
    for file_format in ["GIF", "PNG", *optional]:
        content = encoded(frames[0], file_format, save_all=True, append_images=frames[1:], duration=50)
        shown = np.asarray(decode(content), int)
        assert np.abs(shown - [255, 0, 0]).max() <= 8, file_format


def test_of_a_multi_picture_jpeg_the_first_counts():
    frames = [Image.new("RGB", (64, 48), colour) for colour in ("red", "blue")]
    content = encoded(frames[0], "MPO", save_all=True, append_images=frames[1:])
    image, width, height, file_format, *_ = read_image(content, short_side=24)
    assert (width, height, file_format) == (64, 48, "MPO")
    assert image.size == (32, 24)
    assert np.abs(np.asarray(image, int) - [255, 0, 0]).max() <= 8


@pytest.mark.parametrize("file_format", ["WEBP", "AVIF", "BMP", "DIB", "GIF", "TIFF", "JPEG", "PNG"])
def test_formats(file_format):
    if not features.check({"WEBP": "webp", "AVIF": "avif"}.get(file_format, "zlib")):
        pytest.skip(f"this Pillow has no {file_format}")
    upright = asymmetrical()
    image, width, height, found, *_ = read_image(encoded(Image.fromarray(upright), file_format))
    assert (width, height, found) == (80, 48, file_format)
    assert np.abs(np.asarray(image, int) - upright).mean() < 4


def test_heic():
    if pillow_files.pi_heif is None:
        pytest.skip("pi-heif is not installed here")
    image, width, height, file_format, *_ = read_image(HEIC)
    assert (width, height, file_format) == (48, 32, "HEIF")
    shown = np.asarray(image, int)
    assert np.abs(shown[:, 2:22] - [200, 40, 30]).max() <= 12
    assert np.abs(shown[:, 26:46] - [20, 60, 200]).max() <= 12


def test_decoding_leaves_no_file_open(tmp_path):
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc")
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    Image.new("RGB", (8, 8)).save(good)
    bad.write_bytes(good.read_bytes()[:40])
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        decode(good)
        with pytest.raises(ImageError):
            decode(bad)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
