"""Pictures as instruments and programs write them: each as tifffile, pydicom or numpy say that it looks."""

import io
import logging
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from simsiam_retrieval.images import dicom, raw, tiff_pages, upright_rgb
from simsiam_retrieval.images.decode import ImageError, decode, read_image
from simsiam_retrieval.images.metadata import parse_date
from simsiam_retrieval.images.ranges import to_eight_bits, used_range

RAMP = np.linspace(0, 1, 48 * 64).reshape(48, 64)
SCENE = np.random.default_rng(0).permutation(RAMP.ravel()).reshape(48, 64)  # every level once, no order
COLOURS = np.stack([SCENE, SCENE[::-1], SCENE[:, ::-1]], axis=2)


def grey(content: bytes, short_side: int | None = None) -> np.ndarray:
    pixels = np.asarray(decode(content, short_side), int)
    assert (pixels.max(axis=2) == pixels.min(axis=2)).all()
    return pixels[:, :, 0]


def off(content: bytes, expected: np.ndarray) -> float:
    """The largest difference from a picture of levels 0..1, in grey levels."""
    return float(
        np.abs(
            np.asarray(decode(content), float) - 255 * (expected if expected.ndim == 3 else expected[:, :, None])
        ).max()
    )


def tiff(values: np.ndarray, **options) -> bytes:
    tifffile = pytest.importorskip("tifffile")
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, **{"metadata": None, **options})
    return buffer.getvalue()


def png(image: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def hand_made_png(rows: np.ndarray, depth: int, colour: int, key: bytes = b"") -> bytes:
    """A PNG of rows of packed bytes, filtered by nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    width = rows.shape[1] * 8 // depth // channels
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + header + (chunk(b"tRNS", key) if key else b"") + body + chunk(b"IEND", b"")


def sixteen_bit_png(values: np.ndarray, key: bytes = b"") -> bytes:
    colour = {1: 0, 3: 2, 4: 6}[1 if values.ndim == 2 else values.shape[2]]
    rows = values.astype(">u2").reshape(len(values), -1).view(np.uint8)
    return hand_made_png(rows, 16, colour, key)


# -- range


@pytest.mark.parametrize("bits", [9, 10, 12, 14, 16])
@pytest.mark.parametrize("kind", ["png", "tiff", "rgb png", "rgba png", "rgb tiff"])
def test_a_photo_of_more_bits_looks_as_in_eight(bits, kind):
    scene = COLOURS if "rgb" in kind else SCENE
    values = (scene * (2**bits - 1)).round().astype(np.uint16)
    if kind == "rgba png":
        values = np.concatenate([values, np.full((48, 64, 1), 65535, np.uint16)], axis=2)
    content = sixteen_bit_png(values) if "png" in kind else tiff(values, photometric="rgb" if "rgb" in kind else None)
    assert off(content, scene) <= 1


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["i2", "i4", "u4", "f4", "f8", "f2", "i1"])
def test_signed_wide_and_float_samples(kind, order):
    low, high = {"i2": (-1000, 3000), "i4": (-100_000, 50), "u4": (2**31 - 5, 2**32 - 1), "i1": (-128, 127)}.get(
        kind, (-2.5, 7.0)
    )
    values = (low + SCENE * (high - low)).astype(order + kind)
    assert off(tiff(values, byteorder=order), SCENE) <= 2  # two pixels of 1,000 are clipped


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "f4", "i2"])
def test_min_is_white_in_every_depth(dtype):
    high = np.iinfo(dtype).max if dtype != "f4" else 1.0
    values = (SCENE * high).astype(dtype)
    assert off(tiff(values, photometric="miniswhite"), 1 - SCENE) <= 2


@pytest.mark.parametrize(
    "compression", [None, "zlib", "lzw", "packbits", "zstd", "lerc", "png", "webp", "jpeg2000", "jpegxl"]
)
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_compressions_planar_and_contiguous(compression, planar, dtype):
    pytest.importorskip("imagecodecs")
    if compression in ("webp", "jpegxl") and (dtype == "u2" or planar == "separate"):
        pytest.skip("not of this kind")
    values = (COLOURS * np.iinfo(dtype).max).round().astype(dtype)
    options = {"compressionargs": {"lossless": True}} if compression == "webp" else {}
    if planar == "separate":
        content = tiff(np.moveaxis(values, 2, 0), photometric="rgb", planarconfig="separate", compression=compression)
    else:
        content = tiff(values, photometric="rgb", compression=compression, **options)
    assert off(content, COLOURS) <= (60 if compression == "jpegxl" else 1)


@pytest.mark.parametrize(
    "options", [{"bigtiff": True}, {"tile": (16, 16)}, {"rowsperstrip": 5}, {"predictor": True, "compression": "zlib"}]
)
@pytest.mark.parametrize("order", ["<", ">"])
def test_layouts(options, order):
    if "predictor" in options:
        pytest.importorskip("imagecodecs")
    values = (COLOURS * 4095).round().astype(order + "u2")
    assert off(tiff(values, photometric="rgb", byteorder=order, **options), COLOURS) <= 1


def test_grey_with_alpha_of_both_kinds():
    values = np.stack([SCENE * 0.5, np.full_like(SCENE, 0.5)], axis=2)
    expected = 0.5 * SCENE + 0.5  # over white; stored once multiplied by alpha, once not
    associated = tiff((values * 255).round().astype("u1"), photometric="minisblack", extrasamples=["assocalpha"])
    values[:, :, 0] = SCENE
    plain = tiff((values * 65535).astype("u2"), photometric="minisblack", extrasamples=["unassalpha"])
    assert off(associated, expected) <= 2
    assert off(plain, expected) <= 2


def test_sixteen_bit_lab():
    """Against littleCMS's own profile of L*a*b*, by way of 8 bits."""
    lab = np.array([[[255, 0, 0], [128, 60, 40], [100, -50, 30], [180, 10, -60], [0, 0, 0]]])
    values = (
        np.stack([lab[..., 0] / 255 * 65535, lab[..., 1] * 256, lab[..., 2] * 256], axis=2).round().astype(np.int64)
    )
    content = tiff((values & 65535).astype("u2"), photometric="cielab")
    from PIL import ImageCms

    eight = np.stack([lab[..., 0], lab[..., 1] & 255, lab[..., 2] & 255], axis=2).astype(np.uint8)
    transform = ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
    expected = np.asarray(ImageCms.applyTransform(Image.fromarray(eight, "LAB"), transform), int)
    assert np.abs(np.asarray(decode(content), int) - expected).max() <= 3


def test_cmyk_in_sixteen_bits():
    inks = np.zeros((1, 3, 4), np.uint16)
    inks[0, 1, 0], inks[0, 2, 3] = 65535, 65535
    shown = np.asarray(decode(tiff(inks, photometric="separated")), int)
    assert np.abs(shown - [[[255, 255, 255], [0, 255, 255], [0, 0, 0]]]).max() <= 3


@pytest.mark.parametrize("mark", [-9999.0, -3.4028234663852886e38, np.nan, 0.25])
@pytest.mark.parametrize("by", ["pillow", "tifffile"])
def test_no_data_is_apart(mark, by, monkeypatch):
    """A quarter of the picture is missing; the rest looks as it would alone, and the quarter is its mean grey."""
    if by == "pillow":
        monkeypatch.setattr(tiff_pages, "tifffile", None)
    values = (SCENE * 0.2 + 0.5).astype(np.float32)
    values[:24, :32] = mark
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "TIFF", tiffinfo={42113: str(mark)})
    shown = grey(buffer.getvalue())
    measured = np.ones(shown.shape, bool)
    measured[:24, :32] = False
    assert set(shown[~measured]) == {round(shown[measured].mean())}
    rest = SCENE[24:] * 255
    assert np.abs(shown[24:] - rest).max() <= 3


def test_an_undeclared_mark_far_below_everything_is_no_data():
    values = (SCENE * 800 + 200).astype(np.int16)
    values[:4] = -32768
    eight, valid = to_eight_bits(values)
    assert valid is not None and (valid == (values != -32768)).all()
    assert np.abs(eight[4:].astype(int) - SCENE[4:] * 255).max() <= 4
    honest = np.array([[-32768, -20_000, 0, 32767]], np.int16)  # a mark's value in a picture that uses it all
    assert to_eight_bits(honest)[1] is None


@pytest.mark.parametrize("outlier", [np.inf, -np.inf, 1e30, -1e30])
def test_a_few_hot_pixels_do_not_blank_a_picture(outlier):
    values = SCENE.astype(np.float32).copy()
    values[3, 5] = values[40, 60] = outlier
    eight, _ = to_eight_bits(values)
    known = np.isfinite(values) & (np.abs(values) < 2)
    assert np.abs(eight[known].astype(int) - SCENE[known] * 255).max() <= 2


def test_what_is_rarer_than_the_tails_still_shows():
    values = np.zeros((100, 100), np.float32)
    values[50, 50] = 1
    assert to_eight_bits(values)[0][50, 50] == 255


def test_plain_values_are_grey_and_harmless():
    for value in (0, 7, 65535):
        assert set(to_eight_bits(np.full((3, 3), value, np.uint16))[0].ravel()) <= {0, 127, 128, 255}
    assert used_range(np.full((2, 2), np.nan, np.float32)) == (0.0, 1.0)
    assert to_eight_bits(np.zeros((0, 4), np.uint16))[0].shape == (0, 4)


def test_a_declared_range_counts():
    values = (SCENE * 100 + 1000).astype(np.uint16)
    content = tiff(values, extratags=[(280, "H", 1, 0, True), (281, "H", 1, 4000, True)])
    assert np.abs(grey(content) - values * (255 / 4000)).max() <= 1


def test_different_pictures_stay_different():
    """The fault: photos as 12-bit data, elevation or float with no-data were one group of duplicates."""
    random = np.random.default_rng(1)
    for write in (
        lambda scene: sixteen_bit_png((scene * 4095).astype(np.uint16)),
        lambda scene: tiff((scene * 900 - 300).astype(np.int16)),
        lambda scene: tiff(
            np.where(scene < 0.02, -9999, scene).astype(np.float32), extratags=[(42113, "s", 0, "-9999", True)]
        ),
    ):
        first, second = (grey(write(random.random((32, 32)))) for _ in range(2))
        assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.2 and first.std() > 50


# -- pages and bands


def test_the_page_in_full_resolution_counts():
    """A thumbnail first, as cameras and scanners write it."""
    tifffile = pytest.importorskip("tifffile")
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(np.zeros((12, 16), np.uint8), subfiletype=1, metadata=None)
        writer.write((SCENE * 255).round().astype(np.uint8), metadata=None)
    found = read_image(buffer.getvalue())
    assert (found.width, found.height) == (64, 48)
    assert off(buffer.getvalue(), SCENE) <= 1


def test_pyramids_and_ome():
    tifffile = pytest.importorskip("tifffile")
    buffer = io.BytesIO()
    values = (COLOURS * 65535).round().astype(np.uint16)
    with tifffile.TiffWriter(buffer, ome=True) as writer:
        writer.write(values, subifds=1, photometric="rgb", metadata={"axes": "YXS"})
        writer.write(values[::2, ::2], subfiletype=1, photometric="rgb")
    assert off(buffer.getvalue(), COLOURS) <= 1


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_thirteen_bands_show_the_first_three(planar):
    bands = np.stack([SCENE * 2000 * (band + 1) / 13 for band in range(13)], axis=2 if planar == "contig" else 0)
    content = tiff(bands.astype(np.uint16), photometric="minisblack", planarconfig=planar)
    assert off(content, SCENE) <= 4


# -- sizes and words


def test_a_header_of_gigapixels_is_refused_before_anything_is_taken():
    content = bytearray(tiff(np.zeros((8, 8), np.uint16)))
    for tag in (256, 257):
        place = content.index(struct.pack("<H", tag), 8)
        content[place : place + 12] = struct.pack("<HHII", tag, 4, 1, 100_000)
    with pytest.raises(ImageError, match="too large: 100000 x 100000"):
        decode(bytes(content))


def test_a_valid_file_that_is_not_supported_is_not_damaged():
    content = tiff(np.zeros((8, 8), np.complex64))
    with pytest.raises(ImageError) as caught:
        decode(content)
    assert "not supported" in str(caught.value) and "damaged" not in str(caught.value)


def test_a_truncated_tiff_is_not_half_a_picture():
    content = tiff((COLOURS * 65535).astype(np.uint16), photometric="rgb")
    with pytest.raises(ImageError, match="damaged"):
        decode(content[: len(content) // 2])


def test_missing_extras_are_named(monkeypatch):
    monkeypatch.setattr(dicom, "version", lambda: None)
    monkeypatch.setattr(raw, "version", lambda: None)
    for content, extra in ((bytes(128) + b"DICM" + bytes(20), "medical"), (b"FUJIFILMCCD-RAW " + bytes(200), "raw")):
        with pytest.raises(ImageError, match=rf"pip install 'simsiam-retrieval\[{extra}\]'"):
            decode(content)


# -- colour keys


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_the_transparent_grey_of_few_bits(depth):
    levels = np.arange(8) % 2**depth
    packed = np.packbits(
        np.concatenate([[int(bit) for bit in f"{level:0{depth}b}"] for level in levels]).astype(np.uint8)
    )
    shown = grey(hand_made_png(packed[None], depth, 0, key=struct.pack(">H", 1)))[0]
    expected = [255 if level == 1 else round(level * 255 / (2**depth - 1)) for level in levels]
    if depth == 1:
        expected = [0, 255] * 4
    np.testing.assert_array_equal(shown, expected)


def test_the_transparent_colour_of_sixteen_bits():
    values = np.array([[[0, 0, 0], [300, 500, 700], [65535, 65535, 65535]]], np.uint16)
    content = sixteen_bit_png(values, key=struct.pack(">HHH", 300, 500, 700))
    np.testing.assert_array_equal(np.asarray(decode(content))[0], [[0, 0, 0], [255, 255, 255], [255, 255, 255]])
    shown = grey(sixteen_bit_png(np.array([[0, 30_000, 65535, 20_000]]), key=struct.pack(">H", 30_000)))
    np.testing.assert_array_equal(shown, [[0, 255, 255, 78]])


# -- metadata


RED = Image.new("RGB", (8, 8), "red")


@pytest.mark.parametrize("file_format", ["PNG", "WEBP"])
@pytest.mark.parametrize(
    "odd", [b"\0\0\x11\0\0\x01\4\0", b"Exif\0\0garbage", b"II*\0\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff"]
)
def test_odd_exif_costs_nothing(file_format, odd):
    buffer = io.BytesIO()
    RED.save(buffer, file_format, exif=odd, **({"lossless": True} if file_format == "WEBP" else {}))
    for short_side in (None, 4):
        assert (np.asarray(decode(buffer.getvalue(), short_side)) == (255, 0, 0)).all()


@pytest.mark.parametrize("place", ["before", "after"])
def test_long_text_costs_nothing(place):
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", "node " * 220_000, zip=True)
    content = png(RED, pnginfo=info)
    if place == "after":
        plain, start = png(RED), content.index(b"zTXt") - 4
        text = content[start : start + 12 + int.from_bytes(content[start : start + 4], "big")]
        content = plain[:-12] + text + plain[-12:]
    assert (np.asarray(decode(content)) == (255, 0, 0)).all()


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_jpeg_that_lacks_its_end_marker_alone(options):
    buffer = io.BytesIO()
    Image.fromarray((COLOURS * 255).astype(np.uint8)).save(buffer, "JPEG", **options)
    content = buffer.getvalue()
    np.testing.assert_array_equal(np.asarray(decode(content[:-2])), np.asarray(decode(content)))
    for missing in (40, 200, len(content) // 2):
        with pytest.raises(ImageError, match="damaged"):
            decode(content[:-missing])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2019:07:04 10:00:00.123", "2019-07-04 10:00:00"),
        ("2019-07-04T10:00:00", "2019-07-04 10:00:00"),
        ("2019-07-04T10:00:00+02:00", "2019-07-04 10:00:00"),
        ("2019:07:04 10:05", "2019-07-04 10:05:00"),
        ("2019:07:04", "2019-07-04 00:00:00"),
        ("2019/7/4 9:05:01", "2019-07-04 09:05:01"),
        ("2019:07:04 10:00:00\0\0", "2019-07-04 10:00:00"),
        ("0000:00:00 00:00:00", "None"),
        ("2019:13:04 10:00:00", "None"),
        ("    :  :     :  :  ", "None"),
        ("", "None"),
    ],
)
def test_dates_as_they_are_written(text, expected):
    assert str(parse_date(text)) == expected


# -- plain and odd pictures


def logo(level: int) -> Image.Image:
    image = Image.new("RGBA", (64, 64), (level, level, level, 0))
    image.paste((level, level, level, 255), (20, 10, 50, 40))
    return image


def test_white_over_white_gets_another_background():
    shown = grey(png(logo(255)))
    assert shown[20, 30] == 255 and shown[0, 0] == 0
    assert grey(png(logo(0)))[0, 0] == 255  # what shows on white stays there


def test_white_over_white_in_strips(monkeypatch):
    monkeypatch.setattr(upright_rgb, "STRIP_PIXELS", 500)
    shown = grey(png(logo(255)), short_side=16)
    assert shown[0, 0] == 0 and shown[6, 8] == 255


def test_an_alpha_of_zeros_everywhere_means_nothing():
    pixels = np.concatenate([(COLOURS * 255).astype(np.uint8), np.zeros((48, 64, 1), np.uint8)], axis=2)
    for file_format in ("BMP", "PNG"):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, file_format)
        np.testing.assert_array_equal(np.asarray(decode(buffer.getvalue())), pixels[:, :, :3])


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG"])
def test_a_blank_first_frame_is_passed_over(file_format):
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (64, 48), "white")] * 2 + [Image.fromarray((COLOURS * 255).astype(np.uint8))]
    frames[1] = Image.new("RGB", (64, 48), "black")
    frames[0].save(buffer, file_format, save_all=True, append_images=frames[1:], duration=50)
    assert np.asarray(decode(buffer.getvalue())).std() > 30


# -- other kinds of file


@pytest.mark.parametrize("mode", ["L", "RGB", "I;16"])
def test_jpeg_2000_and_portable_maps(mode):
    image = Image.fromarray(
        ((SCENE if mode != "RGB" else COLOURS) * (65535 if mode == "I;16" else 255))
        .round()
        .astype("u2" if mode == "I;16" else "u1")
    )
    for file_format in ("JPEG2000", "PPM"):
        buffer = io.BytesIO()
        image.save(buffer, file_format)
        assert off(buffer.getvalue(), SCENE if mode != "RGB" else COLOURS) <= 2, file_format


# -- DICOM, against pydicom


def dicom_file(values: np.ndarray, **tags) -> bytes:
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["a test"])
    data = FileDataset(io.BytesIO(), {}, file_meta=meta, preamble=bytes(128))
    data.PatientName, data.PatientID, data.StudyDate = "Somebody^Secret", "4711", "20190704"
    frames = values if values.ndim == 3 else values[None]
    data.Rows, data.Columns = frames.shape[1:]
    data.NumberOfFrames, data.SamplesPerPixel = len(frames), 1
    data.BitsAllocated = data.BitsStored = values.dtype.itemsize * 8
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, int(values.dtype.kind == "i")
    data.PhotometricInterpretation = "MONOCHROME2"
    data.PixelData = values.tobytes()
    for name, value in tags.items():
        setattr(data, name, value)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, data)
    return buffer.getvalue()


def test_dicom_rescale_and_window():
    values = (SCENE * 4000).astype(np.int16)
    content = dicom_file(
        values, RescaleSlope=1, RescaleIntercept=-1000, WindowCenter=[40, 600], WindowWidth=[400, 1500]
    )
    low, high = 40 - 0.5 - 399 / 2, 40 - 0.5 + 399 / 2  # PS3.3, C.11.2.1.2.1
    expected = ((values - 1000.0 - low) / (high - low)).clip(0, 1) * 255
    assert np.abs(grey(content) - expected).max() <= 1
    inverted = dicom_file(
        values,
        RescaleSlope=1,
        RescaleIntercept=-1000,
        WindowCenter=40,
        WindowWidth=400,
        PhotometricInterpretation="MONOCHROME1",
    )
    assert np.abs(grey(inverted) - (255 - expected)).max() <= 1


def test_dicom_without_a_window_and_with_padding():
    values = (SCENE * 900 + 100).astype(np.int16)
    values[:10] = -2000
    content = dicom_file(values, PixelPaddingValue=-2000)
    assert np.abs(grey(content)[10:] - SCENE[10:] * 255).max() <= 4


def test_of_dicom_frames_the_middle_one_counts():
    frames = np.stack([np.full((48, 64), 0), SCENE * 255, np.full((48, 64), 0)]).round().astype(np.uint8)
    found = read_image(dicom_file(frames))
    assert (found.width, found.height, found.format, found.taken) == (64, 48, "DICOM", None)
    np.testing.assert_array_equal(np.asarray(found.image)[:, :, 0], frames[1])


def test_nothing_about_a_patient_is_said(caplog):
    content = dicom_file((SCENE * 255).astype(np.uint8))
    with caplog.at_level(logging.DEBUG):
        found = read_image(content)
        assert not found.image.info
        for place in range(140, len(content), 97):
            try:
                decode(content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :])
            except ImageError as error:
                assert "Secret" not in str(error) and "4711" not in str(error)
        assert "Secret" not in caplog.text


def test_a_dicom_header_of_gigapixels_is_refused():
    content = dicom_file(np.zeros((4, 4), np.uint8), Rows=60_000, Columns=60_000)
    with pytest.raises(ImageError, match="too large: 60000 x 60000"):
        decode(content)
