"""Files that are valid and odd, each with the picture that it is."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from simsiam_retrieval.images import tiff_pages
from simsiam_retrieval.images.decode import ImageError, decode, read_image
from simsiam_retrieval.images.reading import Reading
from tests.images.test_instruments import COLOURS, SCENE, dicom_file, grey, hand_made_png, off, sixteen_bit_png, tiff

EIGHT = (COLOURS * 255).round().astype(np.uint8)
DEEP = (COLOURS * 4095).round().astype(np.uint16)  # 12 bits
LEVELS = (SCENE * 4095).round().astype(np.uint16)


def saved(image: Image.Image, file_format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


# -- TIFF


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_deep_tiff_lies_as_its_orientation_says(orientation):
    def content(values):
        return tiff(values, extratags=[(274, 3, 1, orientation, True)])

    upright = np.asarray(decode(content((SCENE * 255).round().astype(np.uint8))))  # Pillow's own
    assert np.abs(np.asarray(decode(content(LEVELS)), int) - upright).max() <= 1
    assert read_image(content(LEVELS)).width == (64 if orientation < 5 else 48)


def test_tiles_larger_than_the_picture():
    assert off(tiff(DEEP[:5, :7], photometric="rgb", tile=(16, 32)), np.asarray(DEEP[:5, :7] / 4095)) <= 1


def test_one_strip_without_a_number_of_rows():
    content = bytearray(tiff(LEVELS))
    tag = content.index(struct.pack("<HHI", 278, 4, 1)) if struct.pack("<HHI", 278, 4, 1) in content else None
    tag = content.index(struct.pack("<HHI", 278, 3, 1)) if tag is None else tag
    content[tag : tag + 12] = struct.pack("<HHII", 278, 4, 1, 2**32 - 1)
    assert off(bytes(content), SCENE) <= 1


def test_floats_with_a_predictor_and_big_endian():
    pytest.importorskip("imagecodecs")
    content = tiff(SCENE.astype(">f4"), compression="zlib", predictor=3, byteorder=">")
    assert off(content, SCENE) <= 2


def test_bright_and_dark_floats():
    values = (COLOURS * 3 - 1).astype(np.float32)  # scene-referred: below 0 and above 1
    assert off(tiff(values, photometric="rgb"), COLOURS) <= 3


@pytest.mark.parametrize("dtype", ["u8", "i8"])
def test_samples_of_64_bits(dtype):
    low = 0 if dtype == "u8" else -(2**62)
    values = (low + SCENE * 2**62).astype(dtype)
    assert off(tiff(values), SCENE) <= 2


def test_bands_that_are_neither_colour_nor_alpha():
    extra = np.full((48, 64, 1), 77, np.uint16)
    values = np.concatenate([DEEP, extra], axis=2)
    assert off(tiff(values, photometric="rgb", extrasamples=["unspecified"]), COLOURS) <= 1
    values = np.concatenate([DEEP, np.full((48, 64, 1), 65535, np.uint16), extra], axis=2)
    assert off(tiff(values, photometric="rgb", extrasamples=["unassalpha", "unspecified"]), COLOURS) <= 1


def test_a_mask_first():
    tifffile = pytest.importorskip("tifffile")
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(SCENE > 0.5, subfiletype=4, metadata=None)
        writer.write(DEEP, photometric="rgb", metadata=None)
    assert off(buffer.getvalue(), COLOURS) <= 1


def test_luma_and_chroma_of_half_resolution():
    pytest.importorskip("imagecodecs")
    smooth = np.asarray(Image.fromarray(EIGHT).resize((8, 6)).resize((64, 48), Image.Resampling.BICUBIC))
    luma = np.asarray(Image.fromarray(smooth).convert("YCbCr"))
    content = tiff(luma, photometric="ycbcr", compression="jpeg", subsampling=(2, 2), tile=(16, 16))
    assert np.abs(np.asarray(decode(content), float) - smooth).mean() <= 4


def test_a_palette_of_sixteen_bits_a_colour():
    palette = (np.arange(256)[None] * np.array([[257], [128], [64]])).astype(np.uint16)
    shown = np.asarray(decode(tiff((SCENE * 255).astype(np.uint8), photometric="palette", colormap=palette)), int)
    expected = (palette[:, (SCENE * 255).astype(np.uint8)] // 257).transpose(1, 2, 0)
    assert np.abs(shown - expected).max() <= 1


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("photometric", [0, 1])
def test_greys_of_few_bits(bits, photometric):
    levels = np.arange(64)[None].repeat(8, 0) % 2**bits
    packed = np.packbits(((levels[..., None] >> np.arange(bits)[::-1]) & 1).astype(np.uint8).reshape(8, -1), axis=1)
    tags = [
        *((256, 4, 64), (257, 4, 8), (258, 3, bits), (259, 3, 1), (262, 3, photometric), (273, 4, 200), (277, 3, 1)),
        *((278, 4, 8), (279, 4, packed.size)),
    ]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    head = b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4)
    content = head + bytes(200 - len(head)) + packed.tobytes()
    expected = levels * 255 // (2**bits - 1)
    np.testing.assert_array_equal(grey(content), expected if photometric else 255 - expected)


def test_only_no_data_is_a_plain_picture_and_no_fault():
    content = tiff(np.full((20, 30), np.nan, np.float32))
    assert len(np.unique(np.asarray(decode(content)))) == 1


def test_eight_bits_with_no_data():
    values = (SCENE * 200 + 50).astype(np.uint8)
    values[:20] = 0
    shown = grey(tiff(values, extratags=[(42113, 2, None, "0", True)]))
    assert np.array_equal(shown[20:], values[20:]) and set(shown[:20].ravel()) == {round(values[20:].mean())}


def test_pages_of_different_kinds(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(EIGHT, photometric="rgb", metadata=None)
        writer.write(SCENE.astype(np.float32), metadata=None)
        writer.write(SCENE[:9, :9] > 0.5, metadata=None)
    assert np.array_equal(np.asarray(decode(tmp_path / "a.tif")), EIGHT)
    second = np.asarray(decode(tmp_path / "a.tif" / "page 2"), float)[:, :, 0]
    assert np.abs(second - SCENE * 255).max() <= 2
    assert set(np.asarray(decode(tmp_path / "a.tif" / "page 3")).ravel()) == {0, 255}


@pytest.mark.parametrize(("photometric", "compression"), [(32845, 34676), (1, 34661)])
def test_rare_compressions_are_unsupported_or_read_and_not_damaged(photometric, compression):
    """SGI's logarithmic light, JBIG."""
    content = bytearray(tiff(SCENE.astype(np.float32)))
    for tag, value in ((262, photometric), (259, compression)):
        place = content.index(struct.pack("<HHI", tag, 3, 1))
        content[place + 8 : place + 10] = struct.pack("<H", value)
    with pytest.raises(ImageError) as caught:
        decode(bytes(content))
    assert "damaged" not in str(caught.value), caught.value


ALPHA = np.full((48, 64, 1), 4095, np.uint16)
WITHOUT_TIFFFILE = {  # a TIFF, and the picture that Pillow must show if it shows one
    "premultiplied grey": (
        np.dstack([LEVELS >> 4, ALPHA >> 4]).astype(np.uint8),
        {"extrasamples": ["assocalpha"]},
        SCENE,
    ),
    "planar, 16 bits": (np.moveaxis(DEEP, 2, 0), {"photometric": "rgb", "planarconfig": "separate"}, COLOURS),
    "planar, four bands": (
        np.moveaxis(np.dstack([DEEP, ALPHA]), 2, 0),
        {"photometric": "rgb", "planarconfig": "separate", "extrasamples": ["unassalpha"]},
        COLOURS,
    ),
    "RGB, 12 in 16 bits": (DEEP, {"photometric": "rgb"}, COLOURS),
    "RGB, 8 bits": (EIGHT, {"photometric": "rgb"}, COLOURS),
    "WebP": (EIGHT, {"photometric": "rgb", "compression": "webp"}, COLOURS),
    "JPEG 2000": (EIGHT, {"photometric": "rgb", "compression": "jpeg2000"}, COLOURS),
    "signed 8 bits": ((SCENE * 255 - 128).astype(np.int8), {}, SCENE),
    "unsigned 32 bits": ((SCENE * (2**32 - 1)).astype(np.uint32), {}, SCENE),
    "signed 32 bits": ((SCENE * 2000 - 1000).astype(np.int32), {}, SCENE),
    "signed 16 bits": ((SCENE * 2000 - 1000).astype(np.int16), {}, SCENE),
    "16 bits, white is zero": (65535 - (SCENE * 65535).astype(np.uint16), {"photometric": "miniswhite"}, SCENE),
    "float": (SCENE.astype(np.float32), {}, SCENE),
    "double": (SCENE, {}, SCENE),
    **{
        f"{kind}, big-endian, deflated": (
            (SCENE * most - offset).astype(kind),
            {"byteorder": ">", "compression": "zlib"},
            SCENE,
        )
        for kind, most, offset in (
            ("int16", 2000, 1000),
            ("int32", 2000, 1000),
            ("float32", 2000, 0),
            ("uint16", 65535, 0),
        )
    },
    "float32, big-endian": ((SCENE * 2000).astype(np.float32), {"byteorder": ">"}, SCENE),
    "thirteen bands": (np.dstack([LEVELS] * 13), {"photometric": "minisblack", "planarconfig": "contig"}, SCENE),
    "a reduced copy": (EIGHT, {"photometric": "rgb", "subfiletype": 1}, COLOURS),
}


@pytest.mark.parametrize("name", WITHOUT_TIFFFILE)
def test_without_the_extra_nothing_is_read_wrongly(name, monkeypatch):
    """It is read as it is, or the report says what to install; never as noise, never called damaged."""
    pytest.importorskip("imagecodecs")
    values, options, expected = WITHOUT_TIFFFILE[name]
    content = tiff(values, **{"photometric": "minisblack", **options})
    monkeypatch.setattr(tiff_pages, "tifffile", None)
    try:
        assert off(content, expected) <= 2
    except ImageError as error:
        assert "pip install 'simsiam-retrieval[scientific]'" in str(error) and "damaged" not in str(error)


# -- PNG


def test_grey_with_alpha_of_sixteen_bits():
    """12 bits in 16; Pillow keeps the high bytes."""
    for alpha, expected in ((65535, SCENE), (32768, SCENE / 2 + 0.5)):
        rows = np.stack([LEVELS, np.full_like(LEVELS, alpha)], axis=2).astype(">u2").reshape(48, -1).view(np.uint8)
        assert off(hand_made_png(rows, 16, 4), expected) <= 2


def test_an_interlaced_png_of_sixteen_bits():
    """Adam7, written here: Pillow and imagecodecs write none."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    for values, colour in ((DEEP, 2), (LEVELS[:, :, None], 0), (np.dstack([LEVELS, LEVELS * 0 + 65535]), 4)):
        rows = [
            b"\0" + row.astype(">u2").tobytes()
            for top, left, down, right in passes
            for row in values[top::down, left::right]
        ]
        header = struct.pack(">IIBBBBB", 64, 48, 16, colour, 0, 0, 1)
        body = zlib.compress(b"".join(rows))
        content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
        assert off(content, COLOURS if colour == 2 else SCENE) <= 1, colour


def test_pixels_in_many_small_chunks():
    content = sixteen_bit_png(DEEP)
    start = content.index(b"IDAT") - 4
    length = int.from_bytes(content[start : start + 4], "big")
    body = content[start + 8 : start + 8 + length]
    parts = [body[at : at + 7] for at in range(0, len(body), 7)]
    chunks = b"".join(
        struct.pack(">I", len(part)) + b"IDAT" + part + struct.pack(">I", zlib.crc32(b"IDAT" + part)) for part in parts
    )
    assert off(content[:start] + chunks + content[start + 12 + length :], COLOURS) <= 1


# -- portable maps, JPEG 2000, JPEG, JPEG XL


@pytest.mark.parametrize("most", [1, 100, 255, 1000, 4095, 65535])
def test_the_largest_value_of_a_portable_map_is_white(most):
    dark = SCENE * 0.4
    values = (dark * most).round()
    binary = values.astype(">u2" if most > 255 else "u1").tobytes()
    for content in (
        b"P5\n64 48\n%d\n" % most + binary,
        b"P2\n# a remark\n64 48\n%d\n" % most + b" ".join(b"%d" % value for value in values.astype(int).ravel()),
    ):
        # 65535 declares nothing: this picture uses 15 bits
        assert off(content, values / (most if most < 65535 else 2**15 - 1)) <= 1


def test_twelve_bits_in_a_portable_map_of_sixteen():
    assert off(b"P6 64 48 65535\n" + DEEP.astype(">u2").tobytes(), COLOURS) <= 1
    assert off(b"P6 64 48 4095\n" + (DEEP // 3).astype(">u2").tobytes(), COLOURS / 3) <= 2


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_jpeg_2000_of_more_than_eight_bits(bits):
    imagecodecs = pytest.importorskip("imagecodecs")
    for scene in (SCENE, COLOURS, np.dstack([COLOURS, np.ones_like(SCENE)])):
        values = (scene * 0.4 * (2**bits - 1)).round().astype(np.uint16)
        if values.shape[2:] == (4,):
            values[:, :, 3] = 2**bits - 1
        content = imagecodecs.jpeg2k_encode(values, level=0, bitspersample=bits, reversible=True)
        expected = scene * (0.4 if bits < 16 else 0.4 * 65535 / 32767)  # 16 declare nothing: it uses 15 bits
        assert off(bytes(content), expected[..., : 3 if scene.ndim == 3 else None]) <= 2
    twelve = imagecodecs.jpeg2k_encode(DEEP, level=0, reversible=True)  # 12 bits in 16
    assert off(bytes(twelve), COLOURS) <= 1


def with_channels(content: bytes, channels: str) -> bytes:
    """A JP2 file whose channels are defined as those of a text such as BGR."""
    start = content.find(b"jp2h") - 4
    end = start + int.from_bytes(content[start : start + 4], "big")
    header = content[start + 8 : end]
    while (at := header.find(b"cdef") - 4) >= 0:
        header = header[:at] + header[at + int.from_bytes(header[at : at + 4], "big") :]
    body = struct.pack(">H", len(channels))
    for position, channel in enumerate(channels):
        body += struct.pack(">3H", position, int(channel == "A"), 0 if channel == "A" else "RGB".index(channel) + 1)
    header += struct.pack(">I4s", 8 + len(body), b"cdef") + body
    return content[:start] + struct.pack(">I4s", 8 + len(header), b"jp2h") + header + content[end:]


@pytest.mark.parametrize("channels", ["RGB", "BGR", "GBR", "RGBA", "ABGR", "GARB"])
def test_jpeg_2000_whose_channels_are_in_another_order(channels):
    alpha = np.where(SCENE > 0.5, 255, 0).astype(np.uint8)
    truth = dict(zip("RGB", np.moveaxis(EIGHT, 2, 0), strict=True)) | {"A": alpha}
    stored = np.dstack([truth[channel] for channel in channels])
    content = with_channels(saved(Image.fromarray(stored), "JPEG2000", irreversible=False, mct=0), channels)
    seen = np.asarray(read_image(content).image).astype(int)
    expected = np.where(alpha[:, :, None] == 255, EIGHT, 255) if "A" in channels else EIGHT
    assert np.abs(seen - expected).max() <= 1


def test_jpeg_2000_with_a_damaged_definition_of_channels_is_refused():
    content = with_channels(saved(Image.fromarray(EIGHT), "JPEG2000", irreversible=False, mct=0), "BGR")
    at = content.find(b"cdef")
    for body in (b"\xff\xff", b"\x00\x00"):  # more channels than the box holds; none
        with pytest.raises(ImageError, match="damaged"):
            read_image(content[: at + 4] + body + content[at + 6 :])


@pytest.mark.parametrize("kind", ["12 bits", "lossless"])
def test_jpegs_of_instruments(kind):
    imagecodecs = pytest.importorskip("imagecodecs")
    if kind == "12 bits":
        smooth = np.asarray(Image.fromarray(LEVELS.astype(np.float32)).resize((8, 6)).resize((64, 48)))
        content = imagecodecs.jpeg8_encode(smooth.astype(np.uint16), level=98, bitspersample=12)
        assert np.abs(grey(bytes(content)) - smooth / 4095 * 255).max() <= 4
    else:
        content = imagecodecs.ljpeg_encode(LEVELS, bitspersample=12)
        assert np.abs(grey(bytes(content)) - SCENE * 255).max() <= 1


def test_jpeg_xl_of_floats_and_with_several_frames():
    imagecodecs = pytest.importorskip("imagecodecs")
    floats = imagecodecs.jpegxl_encode(COLOURS.astype(np.float32), lossless=True)
    assert off(bytes(floats), COLOURS) <= 3
    frames = imagecodecs.jpegxl_encode(np.stack([EIGHT, EIGHT[::-1]]), lossless=True)
    assert np.array_equal(np.asarray(decode(bytes(frames))), EIGHT)


# -- DICOM


def test_dicom_of_many_kinds():
    full = (SCENE * 4095).round()
    expected = SCENE * 255
    unused = LEVELS | np.where(SCENE > 0.5, np.uint16(0x8000), np.uint16(0))  # an overlay in bits that are not used
    assert np.abs(grey(dicom_file(unused, BitsStored=12, HighBit=11)) - expected).max() <= 1
    short = ((full - 2048).astype(np.int16) & 0x0FFF).astype(np.uint16)  # 12 signed bits
    assert np.abs(grey(dicom_file(short, BitsStored=12, HighBit=11, PixelRepresentation=1)) - expected).max() <= 1
    falling = dicom_file(full.astype(np.uint16), RescaleSlope=-1, RescaleIntercept=4095)
    assert np.abs(grey(falling) - (255 - expected)).max() <= 1
    unity = {"BitsStored": 12, "HighBit": 11, "RescaleSlope": 1, "RescaleIntercept": 0}
    dim = (SCENE * 0.8 * 4095).round().astype(np.uint16)  # without a window: as a photo of 12 bits
    assert np.abs(grey(dicom_file(dim, **unity)) - expected * 0.8).max() <= 1
    wide = (SCENE * 2**31).astype(np.uint32)
    assert np.abs(grey(dicom_file(wide)) - expected).max() <= 1
    step = grey(dicom_file(full.astype(np.uint16), WindowCenter=2048, WindowWidth=1))
    np.testing.assert_array_equal(step, np.where(full > 2047.5, 255, 0))


def test_a_range_of_a_collection_goes_before_what_other_kinds_declare():
    imagecodecs = pytest.importorskip("imagecodecs")
    fixed = Reading((0.0, 8190.0))
    for content in (
        b"P6 64 48 65535\n" + DEEP.astype(">u2").tobytes(),
        bytes(imagecodecs.jpeg2k_encode(DEEP, level=0, reversible=True)),
        sixteen_bit_png(DEEP),
        tiff(DEEP, photometric="rgb"),
    ):
        assert np.abs(np.asarray(decode(content, reading=fixed), float) - DEEP / 8190 * 255).max() <= 1
