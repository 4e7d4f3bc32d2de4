"""The decoder: every kind of file to the picture that a viewer would show, or one line that says why not."""

import base64
import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile, features

from simsiam_retrieval.images import decode as decoding
from simsiam_retrieval.images.decode import ImageError, centre_square, decode, read_image

# 48 x 32, left half (200, 40, 30), right half (20, 60, 200); written by libheif 1.20, which pi-heif cannot do
HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAX1tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJp"
    "bG9jAAAAAERAAAEAAQAAAAABoQABAAAAAAAAAI0AAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAAAAAB"
    "AAAA/WlwcnAAAADdaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEA"
    "AQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAA"
    "FGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAADAAAAABAAAAIAAAAAH////wAAAAAv///+AAAAACAAAAEHBpeGkAAAAAAwgICAAAABhp"
    "cG1hAAAAAAAAAAEAAQWBAgMFhAAAAJVtZGF0AAAAiSgBrwT4QTGZv/TL///z412X5KZyjxPIPmZR9+B73/9A9p3riHu86xn3p0pc+BX9"
    "18hGyN0ZRj1p7jDD//kQY+8+LW7X5O4hdomiVgCribTPgn/pcobiYwy2X1UetImy/HcisD+K8Fub8zXP9VlCTsD+c/uX5SW2/7OeDHKb"
    "w3g28v2ltv+zOVbg"
)


def encoded(image: Image.Image, file_format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def asymmetrical(height: int = 48, width: int = 80) -> np.ndarray:
    """A picture that no turn or mirror leaves as it is: four quarters of different grey, red marks in one."""
    pixels = np.empty((height, width, 3), np.uint8)
    for row, column, value in ((0, 0, 40), (0, 1, 100), (1, 0, 160), (1, 1, 220)):
        rows = slice(row * height // 2, (row + 1) * height // 2)
        columns = slice(column * width // 2, (column + 1) * width // 2)
        pixels[rows, columns] = value
    pixels[: height // 4, : width // 4] = (200, 30, 30)
    return pixels


# EXIF 2.32, tag 0x0112: what the 0th row and 0th column of the stored picture are in the upright one
STORED = {
    1: lambda upright: upright,  # top, left
    2: lambda upright: upright[:, ::-1],  # top, right
    3: lambda upright: upright[::-1, ::-1],  # bottom, right
    4: lambda upright: upright[::-1],  # bottom, left
    5: lambda upright: upright.transpose(1, 0, 2),  # left, top
    6: lambda upright: upright[:, ::-1].transpose(1, 0, 2),  # right, top
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),  # right, bottom
    8: lambda upright: upright[::-1].transpose(1, 0, 2),  # left, bottom
}


def with_orientation(upright: np.ndarray, orientation: int, file_format: str, **options) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED[orientation](upright))
    return encoded(Image.fromarray(stored), file_format, exif=exif, **options)


# -- orientation and draft


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


# -- pixel formats


def test_paths_bytes_and_open_files_are_the_same(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    file = tmp_path / "image.png"
    Image.fromarray(pixels).save(file)
    with file.open("rb") as opened:
        for source in (file, file.read_bytes(), opened):
            np.testing.assert_array_equal(np.asarray(decode(source)), pixels)


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


def sixteen_bit_png(values: np.ndarray) -> bytes:
    """A 16-bit grey PNG, written by hand."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


SIXTEEN = np.array([[0, 257, 1000, 20_000], [32_768, 50_000, 65_278, 65_535]])


def test_sixteen_bit_png_is_scaled_not_clipped():
    shown = np.asarray(decode(sixteen_bit_png(SIXTEEN)), int)
    assert np.abs(shown - (SIXTEEN / 65_535 * 255)[:, :, None]).max() < 0.6  # reduce() rounds in fixed point


@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<i4"])
def test_integer_tiff_is_scaled_not_clipped(dtype):
    content = encoded(Image.fromarray(SIXTEEN.astype(dtype)), "TIFF")
    shown = np.asarray(decode(content), int)
    assert np.abs(shown - (SIXTEEN / 65_535 * 255)[:, :, None]).max() < 0.6  # reduce() rounds in fixed point


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.0, 1e-6), (-5e4, 3e6)])
def test_float_tiff_is_shown_from_its_darkest_to_its_brightest(low, high):
    values = np.linspace(low, high, 64, dtype=np.float32).reshape(8, 8)
    shown = np.asarray(decode(encoded(Image.fromarray(values), "TIFF")), int)
    expected = np.linspace(0, 255, 64).reshape(8, 8, 1)
    assert np.abs(shown - expected).max() <= 0.6


def test_large_integers_are_shown_from_darkest_to_brightest():
    values = np.array([[-100_000, 0, 100_000]], np.int32)
    shown = np.asarray(decode(encoded(Image.fromarray(values), "TIFF")), int)[0, :, 0]
    assert np.abs(shown - [0, 127.5, 255]).max() < 0.6  # reduce() rounds in fixed point


@pytest.mark.parametrize(
    "values",
    [
        [[np.nan, 0.0, 1.0]],
        [[np.inf, 0.0, 1.0]],
        [[-np.inf, 0.0, 1.0]],
        [[np.nan, np.nan]],
        [[3.0, 3.0]],
        [[3e38, -3e38]],
    ],
    ids=str,
)
def test_odd_floats_do_no_harm(values):
    content = encoded(Image.fromarray(np.array(values, np.float32)), "TIFF")
    assert decode(content).mode == "RGB"


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
    if decoding.pi_heif is None:
        pytest.skip("pi-heif is not installed here")
    image, width, height, file_format, *_ = read_image(HEIC)
    assert (width, height, file_format) == (48, 32, "HEIF")
    shown = np.asarray(image, int)
    assert np.abs(shown[:, 2:22] - [200, 40, 30]).max() <= 12
    assert np.abs(shown[:, 26:46] - [20, 60, 200]).max() <= 12


# -- colour profiles

# D50 colorants of the ICC profiles, and their gamma
ADOBE = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
GAMMA = 563 / 256


def wide_profile() -> bytes:
    """A matrix profile with Adobe RGB's primaries, put together after the ICC specification."""

    def fixed(*values: float) -> bytes:
        return struct.pack(f">{len(values)}i", *(round(value * 65_536) for value in values))

    name = b"Wide gamut for tests\0"
    description = b"desc\0\0\0\0" + struct.pack(">I", len(name)) + name + bytes(4 + 4 + 2 + 1 + 67)
    tags = {b"desc": description, b"wtpt": b"XYZ \0\0\0\0" + fixed(0.9642, 1.0, 0.8249)}
    for channel, column in zip(b"rgb", ADOBE.T, strict=True):
        tags[bytes([channel]) + b"XYZ"] = b"XYZ \0\0\0\0" + fixed(*column)
        tags[bytes([channel]) + b"TRC"] = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(GAMMA * 256))
    table, data = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for signature, content in tags.items():
        content += bytes(-len(content) % 4)
        table += signature + struct.pack(">II", start + len(data), len(content))
        data += content
    header = struct.pack(">I4xI4s4s4s", start + len(data), 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + fixed(0.9642, 1.0, 0.8249)
    return header.ljust(128, b"\0") + table + data


def adobe_to_srgb(pixels: np.ndarray) -> np.ndarray:
    linear = (pixels / 255) ** GAMMA @ (np.linalg.inv(SRGB) @ ADOBE).T
    linear = linear.clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


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


# -- what cannot be decoded


def reason(source) -> str:
    """The reason for refusing ``source``: one line, fit for a report."""
    with pytest.raises(ImageError) as caught:
        decode(source)
    text = str(caught.value)
    assert text.strip() == text != "" and "\n" not in text and len(text) < 200
    return text


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "GIF", "TIFF", "BMP", "WEBP"])
def test_truncated_files(file_format):
    """Half a file is not shown as half a picture."""
    if file_format == "WEBP" and not features.check("webp"):
        pytest.skip("this Pillow has no WebP")
    pixels = np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8)
    content = encoded(Image.fromarray(pixels), file_format)
    reason(content[: len(content) // 2])


@pytest.mark.parametrize("content", [b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"RIFF\0\0\0\0WEBP"])
def test_headers_without_a_body(content, tmp_path):
    file = tmp_path / "image.jpg"
    file.write_bytes(content)
    reason(file)


def test_a_text_file_named_jpg(tmp_path):
    file = tmp_path / "notes.jpg"
    file.write_text("These are not the pixels you are looking for.\n" * 20)
    assert reason(file) == "not an image, or a format that is not supported"


def test_formats_that_are_left_out_on_purpose():
    """PostScript runs programs; Pillow knows it, this decoder does not."""
    assert reason(encoded(Image.new("RGB", (4, 4)), "PCX")).startswith("not an image")
    assert reason(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n").startswith("not an image")


def test_the_name_does_not_matter(tmp_path):
    file = tmp_path / "really-a-png.jpg"
    Image.new("RGB", (7, 5), (1, 2, 3)).save(file, "PNG")
    image, width, height, file_format, *_ = read_image(file, short_side=2)
    assert (image.size, width, height, file_format) == ((7, 5), 7, 5, "PNG")
    assert image.getpixel((3, 3)) == (1, 2, 3)


def test_a_folder(tmp_path):
    reason(tmp_path)


def test_a_missing_file(tmp_path):
    assert reason(tmp_path / "gone.jpg") == "the file is gone"


def test_no_permission(open_folder: Path, unprivileged):
    file = open_folder / "private.png"
    Image.new("RGB", (4, 4)).save(file)
    file.chmod(0)
    with unprivileged():
        assert reason(file) == "no permission to read it"


def test_a_decompression_bomb_is_refused_before_any_pixel_is_read():
    """A PNG of a hundred bytes that claims 2.5 gigapixels, 7.5 GB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0))
    content = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    assert reason(content) == "too large: 50000 x 50000 is over 200 megapixels"


def test_the_limit_of_pixels_is_inclusive(monkeypatch):
    monkeypatch.setattr(decoding, "MAX_PIXELS", 1000)
    assert decode(encoded(Image.new("L", (50, 20)), "PNG")).size == (50, 20)
    assert reason(encoded(Image.new("L", (77, 13)), "PNG")).startswith("too large: 77 x 13")


def test_large_pictures_need_the_memory(monkeypatch):
    monkeypatch.setattr(decoding, "ALWAYS_PIXELS", 1000)
    monkeypatch.setattr(decoding, "free_memory", lambda: 16 * 2000)
    assert decode(encoded(Image.new("L", (50, 40)), "PNG")).size == (50, 40)
    content = encoded(Image.new("L", (50, 41)), "PNG")
    assert reason(content) == "too large: 50 x 41 takes 0.0 GB of memory to decode"
    with pytest.raises(ImageError) as caught:
        decode(content)
    assert not caught.value.lasting  # tried again by the next update
    monkeypatch.setattr(decoding, "free_memory", lambda: 0)
    assert decode(encoded(Image.new("L", (50, 20)), "PNG")).size == (50, 20)


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
    monkeypatch.setattr(decoding, "STRIP_PIXELS", 2500)  # strips of 9 rows, the last one of 4
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


def test_running_out_of_memory_is_a_reason(monkeypatch):
    def no_memory(*args):
        raise MemoryError

    content = encoded(Image.new("RGB", (4, 4)), "GIF")
    monkeypatch.setattr(ImageFile.ImageFile, "load", no_memory)
    assert reason(content) == "not enough memory to decode it"


def test_ctrl_c_is_not_swallowed(monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    content = encoded(Image.new("RGB", (4, 4)), "GIF")
    monkeypatch.setattr(ImageFile.ImageFile, "load", interrupted)
    with pytest.raises(KeyboardInterrupt):
        decode(content)


def specimens() -> dict[str, bytes]:
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)).resize((60, 40))
    exif = Image.Exif()
    exif[0x0112] = 6
    found = {
        "JPEG": encoded(photo, "JPEG", exif=exif, icc_profile=wide_profile()),
        "progressive": encoded(photo, "JPEG", progressive=True),
        "PNG": encoded(photo.convert("RGBA"), "PNG", exif=exif, icc_profile=wide_profile()),
        "palette": encoded(photo.quantize(16), "PNG", transparency=3),
        "GIF": encoded(photo, "GIF", save_all=True, append_images=[photo.rotate(90)]),
        "TIFF": encoded(photo, "TIFF", exif=exif),
        "BMP": encoded(photo, "BMP"),
        "HEIC": HEIC,
    }
    if features.check("libtiff"):
        found["lzw"] = encoded(photo, "TIFF", compression="tiff_lzw")
    if features.check("webp"):
        found["WEBP"] = encoded(photo, "WEBP", exif=exif)
    if features.check("avif"):
        found["AVIF"] = encoded(photo, "AVIF")
    return found


def corruptions(content: bytes, count: int, seed: int):
    """Flipped bytes (mostly in the first part, where headers are), cuts, repeated and missing pieces."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        data = bytearray(content)
        for _ in range(random.integers(1, 6)):
            reach = len(data) if random.random() < 0.4 else min(len(data), 120)
            place = int(random.integers(0, reach))
            match random.integers(0, 4):
                case 0 | 1:
                    data[place] = int(random.integers(0, 256))
                case 2:
                    data[place : place + 4] = random.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"])
                case 3:
                    del data[place : place + int(random.integers(1, 40))]
            if not data:
                break
        if random.random() < 0.2:
            del data[int(random.integers(0, len(data) + 1)) :]
        yield bytes(data)


@pytest.mark.parametrize("kind", sorted(specimens()))
def test_corrupted_files_give_a_picture_or_a_reason(kind, monkeypatch):
    monkeypatch.setattr(decoding, "MAX_PIXELS", 4_000_000)  # a changed header may claim any size
    outcomes = {"picture": 0, "reason": 0}
    for number, data in enumerate(corruptions(specimens()[kind], 300, seed=1)):
        try:
            image = decode(data, short_side=20 if number % 2 else None)
        except ImageError as error:
            assert "\n" not in str(error) and str(error)
            outcomes["reason"] += 1
        else:
            assert image.mode == "RGB" and min(image.size) > 0
            np.asarray(image)
            outcomes["picture"] += 1
    assert outcomes["reason"] > 20, outcomes


# -- the square that encoders see


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
