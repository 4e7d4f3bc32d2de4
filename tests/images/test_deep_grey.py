"""Grey samples of more than 8 bits are scaled by the range that is used, not clipped."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from simsiam_retrieval.images.decode import decode
from tests.support.image_files import encoded, png_chunk


def sixteen_bit_png(values: np.ndarray) -> bytes:
    """A 16-bit grey PNG, written by hand."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, 0, 0, 0, 0)
    body = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
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
