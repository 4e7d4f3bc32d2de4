"""Files that other programs wrote: GDAL's GeoTIFFs, and public samples where somebody has put them.

The samples' licences do not allow their pictures here. A folder of them can be named by ``SIMSIAM_RETRIEVAL_SAMPLES``;
docs/instruments.md says where each is found. pydicom's files are in ``test_cameras_and_scanners.py``.
"""

import hashlib
import os
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from simsiam_retrieval.images.decode import decode, read_image
from simsiam_retrieval.images.reading import Reading
from tests.images.test_instruments import SCENE

SMOOTH = np.kron(SCENE[:12, :16], np.ones((32, 32)))  # 384 x 512


@pytest.mark.parametrize("driver", ["GTiff", "COG"])
@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
def test_geotiffs_as_gdal_writes_them(tmp_path, driver, dtype):
    """Tiles, predictor, georeference, a no-data value, and overviews, which are no pages."""
    rasterio = pytest.importorskip("rasterio")
    no_data = 0 if dtype == "uint16" else -9999
    values = (SMOOTH * 3000 + 500).astype(dtype)
    values[:40] = no_data
    profile = {"driver": driver, "height": 384, "width": 512, "count": 1, "dtype": dtype, "nodata": no_data}
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 5e5, 0, -10, 5e6)}
    options = {"blocksize": 128, "compress": "deflate"}
    if driver == "GTiff":
        options = {"tiled": True, "blockxsize": 128, "blockysize": 128, "compress": "lzw", "predictor": 2}
        options |= {"predictor": 3} if dtype == "float32" else {}
    with rasterio.open(tmp_path / "dem.tif", "w", **profile, **place, **options) as file:
        file.write(values, 1)
    if driver == "GTiff":
        with rasterio.open(tmp_path / "dem.tif", "r+") as file:
            file.build_overviews([2, 4])
    decoded = read_image(tmp_path / "dem.tif", reading=Reading((500.0, 3500.0)))
    assert (decoded.width, decoded.height, decoded.pages) == (512, 384, 1)
    levels = np.asarray(decoded.image, float)[:, :, 0]
    assert np.abs(levels[40:] - SMOOTH[40:] * 255).max() <= 1
    assert set(levels[:40].ravel()) == {round(levels[40:].mean())}


def test_bands_as_gdal_writes_them(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    bands = np.stack([SMOOTH * 100 * (band + 1) for band in range(13)]).astype(np.uint16)
    for interleave in ("band", "pixel"):
        file = tmp_path / f"{interleave}.tif"
        profile = {"driver": "GTiff", "height": 384, "width": 512, "count": 13, "dtype": "uint16"}
        with rasterio.open(file, "w", **profile, interleave=interleave, compress="zstd") as target:
            target.write(bands)
        found = np.asarray(decode(file, reading=Reading((0.0, 1300.0), (4, 3, 2))), float)
        assert np.abs(found - np.moveaxis(bands[[3, 2, 1]], 0, 2) / 1300 * 255).max() <= 1


# SHA-256 of a sample -> its size, number of pages, date, and the mean grey level of its picture
SAMPLES: dict[str, tuple[int, int, int, datetime | None, int]] = {
    # Canon EOS 6D, DNG with a preview (photoprism)
    "e5a7adfb8f7fbe43a31e637dab5bc161ed4af2c128f76bc1eb04162373893ecf": (
        1224,
        816,
        1,
        datetime(2019, 6, 6, 7, 29, 51),
        36,
    ),
    # Kodak DC50, KDC (rawpy)
    "37e290dbd0053f00e508d02a6b3a2a990432dad1eb74c40a52ca899f0f225ecc": (
        768,
        512,
        1,
        datetime(1997, 4, 23, 8, 0, 47),
        146,
    ),
    # Reagan.jxl (exiv2)
    "cdf84058e782d4620b0ada0aecf065dfda37080807652e611e3d0d0a14e295da": (200, 130, 1, None, 147),
    # 12 bits (openjpeg-data, conformance)
    "78ae553dc97b22352a2417aba739160e3b6c5b187b2efb867fb50f9814f1bc67": (768, 512, 1, None, 116),
    # 16-bit RGB (openjpeg-data)
    "c9e6c845fde3db494035b9be8728239da45791b3269687a043a1fcedd8d11dbf": (480, 640, 1, None, 110),
    # palette (openjpeg-data)
    "6dfea011b013b62353fedcce9520e7c061dbbe8bf0c06d9edad4ac8889274b91": (768, 512, 1, None, 109),
    # 12 bits, codestream (openjpeg-data)
    "fbbe812a6ce6abfc5d1eef02c2e3838c023c24f0ff0b1dcd79c4e1d018b3351f": (1024, 1024, 1, None, 147),
    # old JPEG in TIFF (libvips)
    "0d31f2acb25bfbde4d79975572369c3e4bea8e978fc1935075a545e3f8321b6e": (234, 213, 1, None, 58),
    # YCbCr (libvips)
    "264d4955898a35ae70af0ec6eed0dbc49d7929f6c18c92a4ed6198f6db396f4b": (250, 325, 1, None, 60),
    # OME (libvips)
    "f8cebdb6036060e433576bd0303f6f632fac6f2a71f2e7ceec08a13f34f69cba": (439, 167, 15, None, 127),
}


def samples() -> dict[str, Path]:
    folder = os.environ.get("SIMSIAM_RETRIEVAL_SAMPLES")
    files = [path for path in Path(folder).rglob("*") if path.is_file()] if folder else []
    return {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in files}


@pytest.mark.parametrize("digest", SAMPLES)
def test_public_samples(digest):
    file = samples().get(digest)
    if file is None:
        pytest.skip("no such sample in SIMSIAM_RETRIEVAL_SAMPLES")
    width, height, pages, taken, mean = SAMPLES[digest]
    decoded = read_image(file)
    assert (decoded.width, decoded.height, decoded.pages, decoded.taken) == (width, height, pages, taken)
    assert abs(np.asarray(decoded.image).mean() - mean) <= 2
