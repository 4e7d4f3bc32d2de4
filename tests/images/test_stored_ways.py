"""Small valid files of kinds that people have, each with its right levels, worked out by hand."""

import io
from datetime import date

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from simsiam_retrieval.images.decode import read_image

APART = None  # a pixel without a measurement: whatever it is shown as, it does not change the others


def row(values: list, dtype: type, file_format: str = "TIFF", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.array([values], dtype)).save(buffer, file_format, **options)
    return buffer.getvalue()


ROWS = {
    "12 bits in 16": (row([0, 1000, 2000, 3000, 4095], np.uint16, "PNG"), [0, 62, 125, 187, 255]),
    "signed": (row([-1000, -500, 0, 500, 1000], np.int32), [0, 64, 128, 191, 255]),
    "no data": (row([-9999, 0, 0.2, 0.4, 0.6], np.float32, tiffinfo={42113: "-9999"}), [APART, 0, 85, 170, 255]),
    "infinite": (row([np.inf, 0, 0.2, 0.4, 0.6], np.float32), [APART, 0, 85, 170, 255]),
    "white is zero": (row([0, 16384, 32768, 49152, 65535], np.uint16, tiffinfo={262: 0}), [255, 191, 127, 64, 0]),
}


@pytest.mark.parametrize("name", ROWS)
def test_levels(name):
    content, right = ROWS[name]
    found = np.asarray(read_image(content).image, int)[0, :, 0].tolist()
    assert all(want is APART or abs(got - want) <= 1 for got, want in zip(found, right, strict=True)), found


def test_the_page_in_full_resolution_after_a_thumbnail():
    large = Image.new("RGB", (400, 300), "red")
    small = large.resize((40, 30))
    small.encoderinfo = {}
    buffer = io.BytesIO()
    small.save(buffer, "TIFF", save_all=True, append_images=[large], tiffinfo={254: 1})
    decoded = read_image(buffer.getvalue())
    assert (decoded.width, decoded.height, decoded.image.size) == (400, 300, (400, 300))


def test_odd_exif_and_long_text():
    webp, png, info = io.BytesIO(), io.BytesIO(), PngImagePlugin.PngInfo()
    Image.new("RGB", (8, 8), "red").save(webp, "WEBP", exif=b"\0\0\x11\0\0\x01\4\0", lossless=True)
    info.add_text("workflow", "node " * 220_000, zip=True)
    Image.new("RGB", (8, 8), "red").save(png, "PNG", pnginfo=info)
    for buffer in (webp, png):
        image = read_image(buffer.getvalue()).image
        assert image.size == (8, 8) and image.getpixel((4, 4)) == (255, 0, 0)


def test_a_jpeg_without_its_end_marker():
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(buffer, "JPEG")
    whole, cut = read_image(buffer.getvalue()), read_image(buffer.getvalue()[:-2])
    assert cut.image.tobytes() == whole.image.tobytes()


@pytest.mark.parametrize(
    ("original", "digitized"),
    [
        ("2019:07:04 10:00:00.123", None),
        ("2019-07-04T10:00:00", None),
        ("2019:07:04", None),
        ("0000:00:00 00:00:00", "2019:07:04 10:00:00"),
    ],
)
def test_dates(original, digitized):
    exif = Image.Exif()
    exif[271] = "C"
    exif.get_ifd(0x8769)[0x9003] = original
    if digitized is not None:
        exif.get_ifd(0x8769)[0x9004] = digitized
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG", exif=exif)
    taken = read_image(buffer.getvalue()).taken
    assert taken is not None and taken.date() == date(2019, 7, 4)
