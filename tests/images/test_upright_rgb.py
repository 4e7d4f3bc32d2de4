"""Any mode becomes RGB: grey, palettes, transparency, CMYK, colour profiles; large images are reduced in strips."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageCms

from simsiam_retrieval.images import upright_rgb
from simsiam_retrieval.images.decode import decode, read_image
from tests.support.image_files import adobe_to_srgb, encoded, wide_profile


def test_grey_is_spread_over_three_channels():
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = np.asarray(decode(encoded(Image.fromarray(grey), "PNG")))
    np.testing.assert_array_equal(image, np.repeat(grey[:, :, None], 3, axis=2))


def test_one_bit():
    bits = np.indices((8, 8)).sum(0) % 2 == 1
    image = np.asarray(decode(encoded(Image.fromarray(bits), "PNG")))
    np.testing.assert_array_equal(image, np.repeat(np.where(bits, 255, 0)[:, :, None], 3, axis=2))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_goes_over_white(mode):
    alpha = np.linspace(0, 255, 64).round().astype(np.uint8).reshape(8, 8)
    colour = np.full((8, 8, len(mode) - 1), 90, np.uint8)
    if mode == "RGBA":
        colour[:, :, 0] = 10
    image = Image.fromarray(np.concatenate([colour, alpha[:, :, None]], axis=2), mode)
    weight = alpha[:, :, None] / 255
    expected = np.broadcast_to(colour * weight + 255 * (1 - weight), (8, 8, 3))
    shown = np.asarray(decode(encoded(image, "PNG")), int)
    assert np.abs(shown - expected).max() <= 1


def palette_image() -> Image.Image:
    image = Image.new("P", (3, 1))
    image.putpalette([250, 0, 0, 0, 240, 0, 0, 0, 230])
    image.putdata([0, 1, 2])
    return image


def test_palette():
    shown = np.asarray(decode(encoded(palette_image(), "PNG")))
    np.testing.assert_array_equal(shown, [[[250, 0, 0], [0, 240, 0], [0, 0, 230]]])


@pytest.mark.parametrize("file_format", ["PNG", "GIF"])
def test_palette_with_a_transparent_entry(file_format):
    shown = np.asarray(decode(encoded(palette_image(), file_format, transparency=1)))
    np.testing.assert_array_equal(shown, [[[250, 0, 0], [255, 255, 255], [0, 0, 230]]])


def test_palette_with_half_transparent_entries():
    shown = np.asarray(decode(encoded(palette_image(), "PNG", transparency=bytes([255, 0, 128]))), int)
    expected = np.array([[[250, 0, 0], [255, 255, 255], [127, 127, 242.4]]])
    assert np.abs(shown - expected).max() <= 1


def test_a_transparent_colour_of_an_rgb_png():
    image = Image.fromarray(np.array([[[10, 20, 30], [40, 50, 60]]], np.uint8))
    shown = np.asarray(decode(encoded(image, "PNG", transparency=(10, 20, 30))))
    np.testing.assert_array_equal(shown, [[[255, 255, 255], [40, 50, 60]]])


@pytest.mark.parametrize("file_format", ["TIFF", "JPEG"])
def test_cmyk(file_format):
    """Ink on white paper: no ink, cyan, magenta, yellow, black."""
    inks = [(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 0, 0), (0, 0, 255, 0), (0, 0, 0, 255)]
    image = Image.new("CMYK", (5 * 16, 16))
    for place, ink in enumerate(inks):
        image.paste(ink, (place * 16, 0, place * 16 + 16, 16))
    shown = np.asarray(decode(encoded(image, file_format)), int)[8, 8::16]
    expected = [[255, 255, 255], [0, 255, 255], [255, 0, 255], [255, 255, 0], [0, 0, 0]]
    assert np.abs(shown - expected).max() <= 6


# -- colour profiles

COLOURS = np.array([[[90, 160, 90], [200, 120, 110], [128, 128, 128], [60, 80, 150], [255, 255, 255]]], np.uint8)


def test_a_wide_profile_is_converted_to_srgb():
    content = encoded(Image.fromarray(COLOURS), "PNG", icc_profile=wide_profile())
    expected = adobe_to_srgb(COLOURS)
    assert np.abs(expected - COLOURS).max() > 15  # the profile matters for these colours
    assert np.abs(np.asarray(decode(content), int) - expected).max() <= 2


def test_a_wide_profile_is_converted_in_a_jpeg_draft_too():
    plain = Image.new("RGB", (64, 64), (90, 160, 90))
    content = encoded(plain, "JPEG", quality=100, icc_profile=wide_profile())
    shown = np.asarray(decode(content, short_side=16), int)
    assert shown.shape == (16, 16, 3)
    assert np.abs(shown - adobe_to_srgb(np.array([90, 160, 90]))).max() <= 4


@pytest.mark.parametrize("mode", ["P", "RGBA"])
def test_a_wide_profile_counts_for_palettes_and_transparent_pictures_too(mode):
    image = Image.fromarray(COLOURS)
    image = image.quantize(5) if mode == "P" else image.convert("RGBA")
    content = encoded(image, "PNG", icc_profile=wide_profile())
    assert np.abs(np.asarray(decode(content), int) - adobe_to_srgb(COLOURS)).max() <= 4


def test_an_srgb_profile_changes_nothing():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    content = encoded(Image.fromarray(COLOURS), "PNG", icc_profile=profile)
    np.testing.assert_array_equal(np.asarray(decode(content)), COLOURS)


@pytest.mark.parametrize(
    "profile",
    [b"nonsense", b"\0" * 128, wide_profile()[:200], wide_profile().replace(b"RGB ", b"CMYK"), b"\xff" * 3000],
    ids=["text", "zeros", "cut", "other-space", "ones"],
)
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA"])
def test_a_broken_or_foreign_profile_never_loses_the_picture(profile, mode):
    image = Image.fromarray(COLOURS).convert(mode)
    shown = decode(encoded(image, "PNG", icc_profile=profile))
    assert (shown.size, shown.mode) == (image.size, "RGB")


# -- large images


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_large_pictures_are_made_small_in_strips(monkeypatch, mode, orientation):
    """Each pixel is the mean of a block of the picture as it would be without: over white, upright, in 8 bits."""
    draw = np.random.default_rng(0)
    if mode == "I;16":
        image = Image.fromarray(draw.integers(0, 65536, (130, 211), np.uint16))
    else:
        bands = {"RGB": 3, "RGBA": 4, "LA": 2, "CMYK": 4}.get(mode, 1)
        pixels = draw.integers(0, 256, (130, 211, bands), np.uint8)
        image = Image.fromarray(pixels.squeeze(), {1: "L"}.get(bands, mode)).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(image, "TIFF" if mode in ("CMYK", "LA") else "PNG", exif=exif)
    whole = np.asarray(decode(content), float)
    monkeypatch.setattr(upright_rgb, "STRIP_PIXELS", 2500)  # strips of 9 rows, the last one of 4
    small, width, height, *_ = read_image(content, short_side=40)
    assert (width, height) == whole.shape[1::-1]
    assert small.size == (-(-width // 3), -(-height // 3))
    rows, columns = height // 3, width // 3
    blocks = whole[: 3 * rows, : 3 * columns].reshape(rows, 3, columns, 3, 3).mean(axis=(1, 3))
    turned = orientation == 6 and mode not in (
        "CMYK",
        "LA",
    )  # Pillow turns a TIFF when it is loaded; else its incomplete blocks are at the left
    if turned:
        blocks = whole[: 3 * rows, width % 3 :].reshape(rows, 3, columns, 3, 3).mean(axis=(1, 3))
    found = np.asarray(small, float)[:rows, -columns:] if turned else np.asarray(small, float)[:rows, :columns]
    assert np.abs(found - blocks).max() < 0.6  # reduce() rounds in fixed point
    assert read_image(content, short_side=100).image.size == (width, height)  # too small to be halved


def test_a_large_picture_needs_little_more_memory_than_its_pixels(tmp_path):
    """36 megapixels, 144 MB decoded, transparent: three copies of it would not fit."""
    file = tmp_path / "large.png"
    Image.new("RGBA", (6000, 6000), (255, 0, 0, 128)).save(file, compress_level=1)
    script = f"""
import resource, sys
from simsiam_retrieval.images.decode import read_image
from pathlib import Path
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
image = read_image(Path({str(file)!r}).read_bytes(), 256).image
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, image.getpixel((5, 5)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("(255, 127, 127)\n")
    assert int(done.stdout.split()[0]) < 220 * 1024  # KiB
