"""Odd files in a collection, as queries, in training and as uploads: the same picture everywhere."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from simsiam_retrieval.app.components.chosen_image import uploaded_picture  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.app.pages import search_query  # pyright: ignore[reportMissingImports]

from simsiam_retrieval import Collection
from simsiam_retrieval.collection.update.index_folders import index_folders
from simsiam_retrieval.images.files import list_images
from simsiam_retrieval.training.decode_squares import Square, decode_squares
from tests.images.test_cameras_and_scanners import dng
from tests.images.test_instruments import dicom_file, hand_made_png, sixteen_bit_png, tiff
from tests.support.small_encoder import small_encoder

SIDE = 8


def scene(seed: int) -> np.ndarray:
    rough = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return np.asarray(Image.fromarray(rough).resize((640, 480), Image.Resampling.BICUBIC))


def grey_scene(seed: int, most: int = 4095) -> np.ndarray:
    return (scene(seed)[::10, ::10, 0] / 255 * most).round().astype(np.uint16)


def odd_files() -> dict[str, bytes]:
    imagecodecs = pytest.importorskip("imagecodecs")
    colours = scene(1)[::10, ::10].astype(np.uint16) * 16
    alpha = np.stack([grey_scene(2), np.full((48, 64), 65535)], axis=2).astype(">u2")
    map_ = io.BytesIO(b"")
    Image.fromarray(scene(3)[::10, ::10]).save(map_, "PPM")
    return {
        "bands.tif": tiff(scene(4)[::10, ::10].repeat(5, axis=2), photometric="minisblack", planarconfig="contig"),
        "deep.png": sixteen_bit_png(colours),
        "alpha.png": hand_made_png(alpha.reshape(48, -1).view(np.uint8), 16, 4),
        "heights.tif": tiff(grey_scene(5).astype(np.int16) - 900),
        "half.tiff": tiff(grey_scene(6).astype(np.float16)),
        "white-is-zero.tif": tiff(grey_scene(7), photometric="miniswhite"),
        "IM0001": dicom_file(grey_scene(8), WindowCenter=2000, WindowWidth=3900),
        "1.2.840.7": dicom_file(grey_scene(9), PhotometricInterpretation="MONOCHROME1"),
        "twelve.jpg": bytes(imagecodecs.jpeg8_encode(grey_scene(10), level=95, bitspersample=12)),
        "lossless.jpg": bytes(imagecodecs.ljpeg_encode(grey_scene(11), bitspersample=12)),
        "deep.jp2": bytes(imagecodecs.jpeg2k_encode(scene(12)[::10, ::10].astype(np.uint16) * 16, level=0)),
        "a.jxl": bytes(imagecodecs.jpegxl_encode(scene(13)[::10, ::10], lossless=True)),
        "sensor.dng": dng(scene(14)),
        "preview.dng": dng(scene(15), scene(16)),
        "deep.ppm": b"P6 64 48 65535\n" + (scene(17)[::10, ::10].astype(">u2") * 16).tobytes(),
        "map.pnm": map_.getvalue(),
    }


def test_the_same_picture_in_collections_queries_training_and_uploads(tmp_path: Path) -> None:
    for package in ("tifffile", "pydicom", "rawpy"):
        pytest.importorskip(package)
    folder = tmp_path / "odd"
    folder.mkdir()
    for name, content in odd_files().items():
        (folder / name).write_bytes(content)
    update = index_folders([folder], tmp_path / "made", str(small_encoder(tmp_path / "small.onnx")), workers=1)
    assert (update.images, update.failed) == (len(odd_files()), [])
    listing = list_images([folder]).images
    squares = [one for chunk in decode_squares(listing, SIDE, workers=0) for one in chunk]
    with Collection.open(tmp_path / "made") as collection:
        assert collection.duplicates(exact=True) == []
        for file, square in zip(listing, squares, strict=True):
            [hit, *_] = collection.search(file.path, k=2)
            assert (hit.path, round(hit.score, 5)) == (file.path, 1.0)
            assert isinstance(square, Square) and np.ptp(square.pixels) > 60
            shown = np.asarray(Image.open(io.BytesIO(collection.thumbnail(hit.item.id) or b"")).resize((SIDE, SIDE)))
            likeness = np.corrcoef(shown.astype(float).ravel(), square.pixels.astype(float).ravel())[0, 1]
            assert likeness > 0.97, (file.path.name, likeness)
            picture, *_ = uploaded_picture(file.path.read_bytes())
            given = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB").resize((SIDE, SIDE)))
            assert np.corrcoef(shown.astype(float).ravel(), given.astype(float).ravel())[0, 1] > 0.97, file.path.name


def test_an_upload_is_read_as_its_collection_is(tmp_path: Path) -> None:
    """One relief at three heights: with a range of its own, an upload would be like all of them."""
    pytest.importorskip("tifffile")
    folder = tmp_path / "dem"
    folder.mkdir()
    relief = grey_scene(1, 300).astype(np.int16)
    for number in range(3):
        (folder / f"{number}.tif").write_bytes(tiff(relief + 600 * number))
    encoder = str(small_encoder(tmp_path / "small.onnx"))
    index_folders([folder], tmp_path / "made", encoder, value_range="0 2100", workers=0)
    with Collection.open(tmp_path / "made") as collection:
        embedded = search_query._embedded.__wrapped__
        vector = embedded(collection, "", collection.reading, (folder / "1.tif").read_bytes())
        first, second = collection.search(vector, k=2)
        assert (first.path.name, round(first.score, 5)) == ("1.tif", 1.0) and second.score < 0.995
