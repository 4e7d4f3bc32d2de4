"""What cannot be decoded: every file gives a picture, or a reason of one line."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, features

from simsiam_retrieval.images import size_limits
from simsiam_retrieval.images.decode import ImageError, decode
from tests.support.image_files import corruptions, encoded, png_chunk, specimens


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
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0))
    content = b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(bytes(100))) + png_chunk(b"IEND", b"")
    assert reason(content) == "too large: 50000 x 50000 is over 200 megapixels"


def test_the_limit_of_pixels_is_inclusive(monkeypatch):
    monkeypatch.setattr(size_limits, "MAX_PIXELS", 1000)
    assert decode(encoded(Image.new("L", (50, 20)), "PNG")).size == (50, 20)
    assert reason(encoded(Image.new("L", (77, 13)), "PNG")).startswith("too large: 77 x 13")


def test_large_pictures_need_the_memory(monkeypatch):
    monkeypatch.setattr(size_limits, "ALWAYS_PIXELS", 1000)
    monkeypatch.setattr(size_limits, "free_memory", lambda: 16 * 2000)
    assert decode(encoded(Image.new("L", (50, 40)), "PNG")).size == (50, 40)
    content = encoded(Image.new("L", (50, 41)), "PNG")
    assert reason(content) == "too large: 50 x 41 takes 0.0 GB of memory to decode"
    with pytest.raises(ImageError) as caught:
        decode(content)
    assert not caught.value.lasting  # tried again by the next update
    monkeypatch.setattr(size_limits, "free_memory", lambda: 0)
    assert decode(encoded(Image.new("L", (50, 20)), "PNG")).size == (50, 20)


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


@pytest.mark.parametrize("kind", sorted(specimens()))
def test_corrupted_files_give_a_picture_or_a_reason(kind, monkeypatch):
    monkeypatch.setattr(size_limits, "MAX_PIXELS", 4_000_000)  # a changed header may claim any size
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
