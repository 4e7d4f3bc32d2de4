"""Significant and packed bits that a file declares, dates of TIFFs, and DICOM files that do not say what they are."""

import io
import os
import struct
import zlib
from datetime import datetime

import numpy as np
import pytest

from simsiam_retrieval.images.decode import decode, read_image
from simsiam_retrieval.images.files import list_images
from tests.images.test_instruments import SCENE, dicom_file, grey, off, sixteen_bit_png, tiff

DARK = SCENE * 0.3  # uses less than half of any range


def with_significant_bits(png: bytes, bits: bytes) -> bytes:
    chunk = b"sBIT" + bits
    return png[:33] + struct.pack(">I", len(bits)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + png[33:]


@pytest.mark.parametrize("bits", [10, 12, 16])
@pytest.mark.parametrize("aligned", ["high", "low"])
def test_significant_bits_of_a_png(bits, aligned):
    """As the standard wants it, and as some programs write it."""
    scale = (2**bits - 1) if aligned == "low" else 65535
    for levels in (DARK, np.stack([DARK, DARK[::-1], DARK], axis=2)):
        png = sixteen_bit_png((levels * scale).round().astype(np.uint16))
        channels = 1 if levels.ndim == 2 else 3
        assert off(with_significant_bits(png, bytes([bits]) * channels), levels) <= 1
        assert off(png, levels) > 20  # without the declaration: from the darkest to the brightest


@pytest.mark.parametrize("bits", [b"", b"\0", b"\xff", b"\x20\x20\x20"])
def test_odd_significant_bits_cost_nothing(bits):
    png = sixteen_bit_png((SCENE * 65535).round().astype(np.uint16))
    assert off(with_significant_bits(png, bits), SCENE) <= 1


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_packed_bits_of_a_tiff(bits):
    pytest.importorskip("imagecodecs")
    values = (DARK * (2**bits - 1)).round().astype(np.uint16)
    packed = "".join(f"{value:0{bits}b}" for value in values.ravel())
    data = int(packed, 2).to_bytes(len(packed) // 8, "big")
    content = bytearray(tiff(values))
    # the same file with another BitsPerSample, and packed samples in place of the others
    start = content.index(values.tobytes())
    tag = content.index(struct.pack("<HHIH", 258, 3, 1, 16))
    content[tag : tag + 10] = struct.pack("<HHIH", 258, 3, 1, bits)
    content[start : start + len(data)] = data
    assert off(bytes(content), DARK) <= 1


@pytest.mark.parametrize("syntax", ["explicit", "implicit"])
def test_dicom_without_a_preamble(syntax):
    pydicom = pytest.importorskip("pydicom")
    whole = dicom_file((SCENE * 255).round().astype(np.uint8))
    data = pydicom.dcmread(io.BytesIO(whole))
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, pydicom.Dataset(data), implicit_vr=syntax == "implicit", little_endian=True)
    assert b"DICM" not in buffer.getvalue()[:200]
    found = read_image(buffer.getvalue())
    assert found.format == "DICOM"
    np.testing.assert_array_equal(np.asarray(found.image), np.asarray(decode(whole)))
    assert grey(buffer.getvalue()).std() > 50


def test_the_date_of_a_tiff_that_tifffile_reads():
    """A deep TIFF with EXIF data, as scanners' programs write it."""
    values = (SCENE * 65535).astype(np.uint16)
    plain = tiff(values, extratags=[(34000, 4, 1, 0, True)])
    ifd = len(plain)
    text = b"2019:07:04 10:00:00\0"
    exif = struct.pack("<H", 1) + struct.pack("<HHII", 36867, 2, len(text), ifd + 18) + struct.pack("<I", 0) + text
    tag = plain.index(struct.pack("<HHI", 34000, 4, 1))  # tifffile writes no tag of EXIF itself
    content = plain[:tag] + struct.pack("<HHII", 34665, 4, 1, ifd) + plain[tag + 12 :] + exif
    assert read_image(content).taken == datetime(2019, 7, 4, 10)


@pytest.mark.parametrize("name", ["IM0001", "1.2.840.10008.5.1.4.78", "image.dcm"])
def test_dicom_files_are_found_whatever_their_name(tmp_path, name):
    content = dicom_file((SCENE * 255).round().astype(np.uint8))
    (tmp_path / name).write_bytes(content)
    (tmp_path / "DICOMDIR").write_bytes(content)  # the list of a medium's files
    (tmp_path / "README").write_text("no picture " * 30)
    os.mkfifo(tmp_path / "pipe")
    listing = list_images([tmp_path])
    assert [image.path.name for image in listing.images] == [name]
    assert listing.kinds[""] == 3
