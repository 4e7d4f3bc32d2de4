"""Files of cameras and of medicine: raw files, pairs of them, compressed DICOM, JPEG XL by its header."""

import importlib
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from simsiam_retrieval.images import size_limits
from simsiam_retrieval.images.decode import ImageError, decode, read_image
from simsiam_retrieval.images.files import list_images
from tests.support.small_encoder import paint

WHITE = 16383  # of a sensor of 14 bits


def scene(seed: int, width: int = 640, height: int = 480) -> np.ndarray:
    blotches = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), np.uint8)
    return np.asarray(Image.fromarray(blotches).resize((width, height), Image.Resampling.BICUBIC))


def dng(sensor: np.ndarray, preview: np.ndarray | None = None, orientation: int = 1) -> bytes:
    """A DNG of a sensor with the Bayer pattern RGGB, of uint8 colours (h, w, 3) taken for linear light."""
    tifffile = pytest.importorskip("tifffile")
    values = np.empty(sensor.shape[:2], np.uint16)
    for row, column, channel in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
        values[row::2, column::2] = (sensor[row::2, column::2, channel] / 255 * WHITE).round()
    matrix = (3.1339, -1.6169, -0.4906, -0.9788, 1.9161, 0.0335, 0.0719, -0.229, 1.4052)  # of sRGB, as a camera's
    rationals = tuple(part for value in matrix for part in (round(value * 10_000), 10_000))
    tags = [
        *((271, 2, None, "Maker", True), (272, 2, None, "Model", True), (274, 3, 1, orientation, True)),
        *((50706, 1, 4, (1, 4, 0, 0), True), (50708, 2, None, "Maker Model", True), (50721, 10, 9, rationals, True)),
        *((50728, 5, 3, (1, 1, 1, 1, 1, 1), True), (50778, 3, 1, 21, True)),
    ]
    pattern = [(33421, 3, 2, (2, 2), True), (33422, 1, 4, (0, 1, 1, 2), True), (50717, 3, 1, WHITE, True)]
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        if preview is None:
            writer.write(values, photometric=32803, metadata=None, extratags=tags + pattern)
        else:
            jpeg = np.asarray(Image.fromarray(preview).convert("YCbCr"))
            writer.write(
                jpeg, photometric="ycbcr", compression="jpeg", subfiletype=1, subifds=1, metadata=None, extratags=tags,
                rowsperstrip=len(jpeg),
            )  # fmt: skip
            writer.write(values, photometric=32803, subfiletype=0, metadata=None, extratags=pattern)
    return buffer.getvalue()


def likeness(image: Image.Image, expected: np.ndarray) -> float:
    size = (expected.shape[1] // 10, expected.shape[0] // 10)
    a, b = (np.asarray(one.resize(size)).ravel() for one in (image, Image.fromarray(expected)))
    return float(np.corrcoef(a, b)[0, 1])


# -- cameras


def test_a_raw_file_is_its_preview_or_half_its_size():
    pytest.importorskip("rawpy")
    sensor, preview = scene(1), scene(2)
    half = read_image(dng(sensor))
    assert (half.format, half.image.size, half.width, half.height) == ("RAW", (320, 240), 640, 480)
    assert likeness(half.image, sensor) > 0.95 and likeness(half.image, preview) < 0.5
    shown = read_image(dng(sensor, preview))
    assert (shown.format, shown.image.size, shown.width, shown.height) == ("RAW", (640, 480), 640, 480)
    assert likeness(shown.image, preview) > 0.98
    small = read_image(dng(sensor, preview[::4, ::4]))  # for the camera's own list of files
    assert likeness(small.image, sensor) > 0.95


def test_a_turned_raw_file_is_upright():
    pytest.importorskip("rawpy")
    sensor, preview = scene(1), scene(2)
    half = read_image(dng(sensor, orientation=6))
    assert (half.image.size, half.width, half.height) == ((240, 320), 480, 640)
    assert likeness(half.image, np.rot90(sensor, -1)) > 0.95
    shown = read_image(dng(sensor, preview, orientation=6))
    assert (shown.width, shown.height) == (480, 640) and likeness(shown.image, np.rot90(preview, -1)) > 0.98


def test_damaged_raw_files():
    pytest.importorskip("rawpy")
    content = dng(scene(1))
    with pytest.raises(ImageError, match="damaged"):
        decode(content[: len(content) // 2])


def test_a_raw_file_and_its_jpeg_are_one_picture(tmp_path):
    for name in ("a.JPG", "b.jpg", "c.heic"):
        paint(tmp_path / name, 1).rename(tmp_path / name) if name != "c.heic" else (tmp_path / name).touch()
    for name in ("a.CR2", "b.dng", "c.nef", "d.ARW", "a b.dng"):
        (tmp_path / name).touch()
    listing = list_images([tmp_path])
    assert [file.path.name for file in listing.images] == ["a b.dng", "a.JPG", "b.jpg", "c.heic", "d.ARW"]
    assert (listing.other, listing.companions, dict(listing.kinds)) == (3, 3, {})


# -- medicine


@pytest.fixture
def no_gpl_decoders() -> Iterator[None]:
    """pydicom without pylibjpeg-libjpeg, as the extra installs it."""
    pytest.importorskip("pydicom")
    from pydicom import uid
    from pydicom.pixels.decoders.base import get_decoder

    kinds = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1, uid.JPEGLSLossless,
             uid.JPEGLSNearLossless)  # fmt: skip
    removed = [(decoder, decoder._available.pop("pylibjpeg", None)) for decoder in map(get_decoder, kinds)]
    yield
    for decoder, plugin in removed:
        if plugin is not None:
            decoder._available["pylibjpeg"] = plugin


COMPRESSED = {  # of pydicom's own test data, those that come with its package
    "JPGExtended.dcm": "12-bit JPEG",
    "JPEG-LL.dcm": "lossless JPEG",
    "SC_rgb_jpeg_gdcm.dcm": "lossless JPEG",
    "MR_small_jpeg_ls_lossless.dcm": "JPEG-LS",
    "JPEGLSNearLossless_16.dcm": "JPEG-LS",
    "JPEG2000.dcm": "JPEG 2000",
    "MR_small_jp2klossless.dcm": "JPEG 2000",
    "MR_small_RLE.dcm": "RLE",
    "SC_rgb_rle_16bit.dcm": "RLE",
    "SC_rgb_dcmtk_+eb+cy+np.dcm": "JPEG",
    "examples_ybr_color.dcm": "JPEG, 30 frames",
    "image_dfl.dcm": "deflated",
    "ExplVR_BigEnd.dcm": "big endian",
    "color-pl.dcm": "planar colours",
    "CT_small.dcm": "Hounsfield units",
}


@pytest.mark.parametrize("name", COMPRESSED)
def test_real_dicom_files_without_gpl_libraries(name, no_gpl_decoders, monkeypatch):
    import pydicom
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
    from pydicom.pixels.utils import pixel_array

    file = _real(name)
    decoded = read_image(file)
    data = pydicom.dcmread(file)
    assert decoded.image.size == (data.Columns, data.Rows) and decoded.format == "DICOM"
    frames = int(data.get("NumberOfFrames") or 1)
    assert decoded.pages == frames
    values = pixel_array(data, index=frames // 2 if frames > 1 else 0)
    if values.ndim == 3:
        expected = values / (2**data.BitsStored - 1) * 255
        assert np.abs(np.asarray(decoded.image, float) - expected).max() <= 1
        return
    values = apply_voi_lut(apply_modality_lut(values, data), data, prefer_lut=True).astype(float)
    found = np.asarray(decoded.image, float)[:, :, 0]
    assert np.corrcoef(found.ravel(), values.ravel())[0, 1] > (0.98 if "WindowCenter" in data else 0.95)


def _real(name: str) -> Path:
    import pydicom.data

    try:
        found = pydicom.data.get_testdata_file(name, download=False)
    except ValueError:
        found = None
    if found is None:
        pytest.skip("not in pydicom's package")
    return Path(str(found))


def test_twelve_bit_jpeg_by_imagecodecs(no_gpl_decoders):
    pytest.importorskip("imagecodecs")
    import pydicom
    from pydicom import uid
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.pixels.utils import pixel_array

    file = _real("JPGExtended.dcm")
    decode(file)
    values = pixel_array(pydicom.dcmread(file), decoding_plugin="imagecodecs")
    assert values.dtype == np.uint16 and 255 < values.max() < 4096
    importlib.import_module("simsiam_retrieval.images.dicom_codecs").register()  # again
    assert get_decoder(uid.JPEGExtended12Bit).available_plugins.count("imagecodecs") == 1


# -- JPEG XL


@pytest.mark.parametrize("size", [(8, 8), (64, 48), (256, 256), (33, 7), (300, 200), (1600, 900), (1, 1), (9000, 1)])
@pytest.mark.parametrize("container", [False, True])
def test_the_size_of_a_jpeg_xl_by_its_header(size, container):
    imagecodecs = pytest.importorskip("imagecodecs")
    from simsiam_retrieval.images.jxl import stored_size

    content = imagecodecs.jpegxl_encode(np.zeros((size[1], size[0]), np.uint8), lossless=True, usecontainer=container)
    assert stored_size(content) == size


def test_jpeg_xl_of_many_kinds():
    imagecodecs = pytest.importorskip("imagecodecs")
    colours = scene(3, 64, 48)
    assert np.array_equal(np.asarray(decode(imagecodecs.jpegxl_encode(colours, lossless=True))), colours)
    deep = imagecodecs.jpegxl_encode(colours.astype(np.uint16) * 257, lossless=True)
    assert np.abs(np.asarray(decode(deep), int) - colours).max() <= 1
    grey = imagecodecs.jpegxl_encode(np.ascontiguousarray(colours[:, :, 0]), lossless=True)
    assert np.array_equal(np.asarray(decode(grey))[:, :, 1], colours[:, :, 0])
    clear = np.concatenate([colours, np.zeros((48, 64, 1), np.uint8)], axis=2)
    clear[:, :32, 3] = 255
    shown = np.asarray(decode(imagecodecs.jpegxl_encode(clear, lossless=True)))
    assert np.array_equal(shown[:, :32], colours[:, :32]) and (shown[:, 32:] == 255).all()


def test_a_jpeg_xl_of_gigapixels_is_refused_by_its_header(monkeypatch):
    imagecodecs = pytest.importorskip("imagecodecs")
    content = imagecodecs.jpegxl_encode(np.zeros((200, 300), np.uint8), lossless=True)
    monkeypatch.setattr(size_limits, "MAX_PIXELS", 50_000)
    monkeypatch.setattr(imagecodecs, "jpegxl_decode", None)
    with pytest.raises(ImageError, match="too large: 300 x 200"):
        decode(content)
    with pytest.raises(ImageError, match="damaged"):
        decode(content[:3])
