"""Ranges, bands and pages that somebody asked for: in files, in collections, in queries."""

import contextlib
import io
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from simsiam_retrieval import Collection
from simsiam_retrieval.collection.status import read_status
from simsiam_retrieval.collection.update.index_folders import index_folders
from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.encoder.onnx_encoder import Encoder
from simsiam_retrieval.images.decode import ImageError, decode, read_image
from simsiam_retrieval.images.page_paths import file_and_page, page_of, page_path
from simsiam_retrieval.images.reading import Reading, join_range, parse_bands, parse_range
from tests.images.test_instruments import dicom_file, sixteen_bit_png, tiff
from tests.support.commands import refused
from tests.support.small_encoder import paint, small_encoder

HEIGHTS = np.linspace(200, 1700, 48 * 64).reshape(48, 64).astype(np.int16)  # metres
BANDS = np.stack([np.full((40, 40), level, np.uint16) for level in range(100, 1400, 100)], axis=2)  # 13, plain
FIXED = Reading((0.0, 2000.0))


def levels(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return ((values.astype(float) - low) * 255 / (high - low)).clip(0, 255)


def grey(content: bytes, reading: Reading) -> np.ndarray:
    return np.asarray(decode(content, reading=reading), float)[:, :, 0]


def pixels_of(content: bytes, reading: Reading) -> bytes:
    return decode(content, reading=reading).tobytes()


# -- options


def test_what_options_mean():
    assert parse_range("auto") == "auto" and parse_range("per-image") == "per-image"
    assert parse_range("-1000 400") == parse_range("-1000,400") == (-1000.0, 400.0)
    assert parse_bands("4,3,2") == (4, 3, 2) and parse_bands("all") == ()
    argv = ["--range", "-1000", "400", "folder", "--range", "auto", "other"]
    assert join_range(argv) == ["--range=-1000 400", "folder", "--range=auto", "other"]
    assert join_range(["--range=0,1", "--range"]) == ["--range=0,1", "--range"]


@pytest.mark.parametrize("text", ["", "1", "5 5", "9 3", "0 nan", "0 inf", "a b", "1 2 3", "per image"])
def test_ranges_that_are_none(text):
    with pytest.raises(UserError, match="--range"):
        parse_range(text)


@pytest.mark.parametrize("text", ["0,1,2", "-1", "a", "1,,2", "1;2", "1,2,3000"])
def test_bands_that_are_none(text):
    with pytest.raises(UserError, match="--bands"):
        parse_bands(text)


def test_two_bands_are_no_picture():
    with pytest.raises(UserError, match="2 bands; give three"):
        Reading().changed(bands="1,2")
    with pytest.raises(UserError, match="3 bands, but the encoder takes 13"):
        Reading(channels=13).changed(bands="4,3,2")


def test_stored_and_read_back():
    for reading in (Reading(), FIXED, Reading("per-image", (4, 3, 2)), Reading(channels=13)):
        assert Reading.of(reading.text()) == reading
    for text in (
        "",
        "[]",
        '{"range": "other", "bands": [], "channels": 3}',
        '{"range": [1], "bands": [], "channels": 3}',
    ):
        with pytest.raises(UserError):
            Reading.of(text)


# -- range


@pytest.mark.parametrize("dtype", ["i2", ">i2", "u2", "i4", "u4", "f4", "f8"])
def test_one_range_for_all_is_kept(dtype):
    values = HEIGHTS.astype(dtype)
    for part in (values, values[:12]):  # a range of its own would differ
        assert np.abs(grey(tiff(part), FIXED) - levels(part, 0, 2000)).max() <= 0.5
    assert grey(tiff(values[:12]), Reading("per-image")).max() == 255


def test_a_range_goes_before_what_a_file_declares():
    options = {"extratags": [(280, 3, 1, 0, True), (281, 3, 1, 4095, True)]}
    content = tiff(HEIGHTS.astype(np.uint16), **options)
    assert np.abs(grey(content, Reading()) - levels(HEIGHTS, 0, 4095)).max() <= 0.5
    assert np.abs(grey(content, FIXED) - levels(HEIGHTS, 0, 2000)).max() <= 0.5
    per_image = grey(content, Reading("per-image"))
    assert per_image.min() == 0 and per_image.max() == 255


def test_ranges_of_sixteen_bit_pngs():
    values = HEIGHTS.astype(np.uint16)
    colours = np.stack([values, values // 2, values], axis=2)
    assert np.abs(grey(sixteen_bit_png(values), FIXED) - levels(values, 0, 2000)).max() <= 0.5
    found = np.asarray(decode(sixteen_bit_png(colours), reading=FIXED), float)
    assert np.abs(found - levels(colours, 0, 2000)).max() <= 0.5


def test_eight_bit_pictures_stay_as_they_are(tmp_path):
    eight = (HEIGHTS // 8).astype(np.uint8)
    for content in (tiff(eight), paint(tmp_path / "a.jpg", 1).read_bytes()):
        assert pixels_of(content, FIXED) == pixels_of(content, Reading())


def test_hounsfield_units(tmp_path):
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPInstanceUID = ExplicitVRLittleEndian, generate_uid()
    meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.2")
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    stored = np.linspace(0, 3000, 64 * 48).reshape(48, 64).round().astype(np.uint16)
    data.Rows, data.Columns, data.SamplesPerPixel, data.BitsAllocated = 48, 64, 1, 16
    data.BitsStored, data.HighBit, data.PixelRepresentation = 12, 11, 0
    data.PhotometricInterpretation, data.PixelData = "MONOCHROME2", stored.tobytes()
    data.RescaleSlope, data.RescaleIntercept, data.WindowCenter, data.WindowWidth = 1, -1024, 40, 400
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, data, enforce_file_format=True)
    content, units = buffer.getvalue(), stored.astype(float) - 1024
    assert np.abs(grey(content, Reading((-1000.0, 1000.0))) - levels(units, -1000, 1000)).max() <= 0.5
    assert np.abs(grey(content, Reading("per-image")) - levels(units, -1024, 1976)).max() <= 1
    assert (grey(content, Reading()) == 255).mean() > 0.5  # the window of soft tissue


# -- bands


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_chosen_bands_are_red_green_and_blue(planar, order):
    values = BANDS if planar == "contig" else np.moveaxis(BANDS, 2, 0)
    content = tiff(values, photometric="minisblack", planarconfig=planar, byteorder=order)
    found = np.asarray(decode(content, reading=Reading((0.0, 1300.0), (4, 3, 2))), float)
    assert np.abs(found - levels(BANDS[:, :, [3, 2, 1]], 0, 1300)).max() <= 0.5
    one = np.asarray(decode(content, reading=Reading((0.0, 1300.0), (8,))), float)
    assert np.abs(one - levels(BANDS[:, :, 7:8], 0, 1300)).max() <= 0.5


def test_each_band_has_a_range_of_its_own_unless_one_is_given():
    values = np.stack([HEIGHTS, HEIGHTS * 2, HEIGHTS // 2, HEIGHTS], axis=2).astype(np.uint16)
    content = tiff(values, photometric="minisblack", planarconfig="contig")
    found = np.asarray(decode(content, reading=Reading(bands=(1, 2, 3))), float)
    assert np.abs(found - levels(HEIGHTS, 200, 1700)[:, :, None]).max() <= 2


def test_all_bands_for_an_encoder_of_as_many():
    content = tiff(BANDS, photometric="minisblack", planarconfig="contig")
    decoded = read_image(content, reading=Reading((0.0, 1300.0), channels=13))
    assert decoded.planes is not None and decoded.planes.dtype == np.uint8
    assert np.abs(decoded.planes - levels(BANDS, 0, 1300)).max() <= 0.5
    assert np.array_equal(
        np.asarray(decoded.image), decoded.planes[:, :, [3, 2, 1]]
    )  # shown as Sentinel-2's red, green and blue
    some = read_image(content, reading=Reading((0.0, 1300.0), (13, 1), 2)).planes
    assert some is not None and np.array_equal(some, decoded.planes[:, :, [12, 0]])


def test_bands_lie_as_the_orientation_says():
    values = np.random.default_rng(0).integers(0, 256, (20, 30, 5), np.uint8)
    content = tiff(values, photometric="minisblack", planarconfig="contig", extratags=[(274, 3, 1, 6, True)])
    planes = read_image(content, reading=Reading(channels=5)).planes
    assert planes is not None and np.array_equal(planes, np.rot90(values, -1))


def test_large_bands_are_made_small(monkeypatch):
    monkeypatch.setattr("simsiam_retrieval.images.upright_rgb.STRIP_PIXELS", 1000)
    values = np.repeat(np.random.default_rng(0).integers(0, 256, (40, 60, 5), np.uint8), 2, axis=0).repeat(2, axis=1)
    content = tiff(values, photometric="minisblack", planarconfig="contig")
    decoded = read_image(content, 40, Reading(channels=5))
    assert decoded.planes is not None and np.array_equal(decoded.planes, values[::2, ::2])
    assert (decoded.width, decoded.height) == (120, 80)


def test_other_bands_than_those_that_are_there(tmp_path):
    three = tiff(BANDS[:, :, :3].astype(np.uint8), photometric="rgb")
    with pytest.raises(ImageError, match="has 3 bands, and --bands 4,3,2 asks for more"):
        decode(three, reading=Reading(bands=(4, 3, 2)))
    with pytest.raises(ImageError, match="has 3 bands, and the encoder takes 13"):
        decode(three, reading=Reading(channels=13))
    photo = paint(tmp_path / "a.jpg", 1).read_bytes()
    with pytest.raises(ImageError, match="red, green and blue, and the encoder takes 13"):
        decode(photo, reading=Reading(channels=13))
    assert pixels_of(photo, Reading(bands=(4, 3, 2))) == pixels_of(photo, Reading())  # a photo has no others
    grey_planes = read_image(photo, reading=Reading(channels=1)).planes
    assert grey_planes is not None
    assert np.array_equal(grey_planes[:, :, 0], np.asarray(decode(photo).convert("L")))


# -- pages


def pages(file: Path, seeds: list[int]) -> Path:
    tifffile = pytest.importorskip("tifffile")
    with tifffile.TiffWriter(file) as writer:
        for seed in seeds:
            blotches = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
            writer.write(blotches.repeat(8, axis=0).repeat(8, axis=1), photometric="rgb", metadata=None)
    return file


def test_names_of_pages(tmp_path):
    file = pages(tmp_path / "scan.tif", [1, 2])
    assert page_path(file, 1) == file and page_path(file, 2) == file / "page 2"
    assert page_of(file / "page 2") == (file, 2) and page_of(file / "page 0") == (file / "page 0", 1)
    assert file_and_page(file / "page 2") == (file, 2)
    (tmp_path / "page 2").touch()
    assert file_and_page(tmp_path / "page 2") == (tmp_path / "page 2", 1)


def test_each_page_is_a_picture(tmp_path):
    file = pages(tmp_path / "scan.tif", [1, 2, 3])
    alone = [decode(pages(tmp_path / f"{seed}.tif", [seed])) for seed in (1, 2, 3)]
    assert [read_image(page_path(file, page)).image.tobytes() for page in (1, 2, 3)] == [
        image.tobytes() for image in alone
    ]
    assert read_image(file).pages == 3
    with pytest.raises(ImageError, match="no page 4"):
        read_image(file / "page 4")


def test_small_copies_are_no_pages(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    from simsiam_retrieval.images.tiff_pages import count_pages

    large = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(large[::2, ::2], photometric="rgb", subfiletype=1, metadata=None)
        writer.write(large, photometric="rgb", metadata=None)
        writer.write(large[::-1], photometric="rgb", metadata=None)
        writer.write(large[::4, ::4], photometric="rgb", subfiletype=1, metadata=None)
    assert count_pages(tmp_path / "a.tif") == read_image(tmp_path / "a.tif").pages == 2
    assert np.array_equal(np.asarray(read_image(tmp_path / "a.tif" / "page 2").image), large[::-1])
    (tmp_path / "b.tif").write_bytes(b"II*\0 damaged")
    assert count_pages(tmp_path / "b.tif") == 1


# -- collections


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    return small_encoder(tmp_path / "small.onnx")


def test_a_collection_keeps_its_range_and_queries_are_read_with_it(tmp_path, encoder):
    folder = tmp_path / "dem"
    folder.mkdir()
    rng = np.random.default_rng(0)
    relief = rng.integers(0, 300, (6, 8)).repeat(8, axis=0).repeat(8, axis=1)
    for number in range(4):  # at four heights: with ranges of their own they would be one picture
        (folder / f"{number}.tif").write_bytes(tiff((relief + 600 * number).astype(np.int16)))
    target = tmp_path / "made"
    index_folders([folder], target, str(encoder), value_range="0 2100", workers=0)
    with Collection.open(target) as collection:
        assert collection.reading == Reading((0.0, 2100.0))
        hits = collection.search(folder / "2.tif", k=2)
        assert hits[0].path.name == "2.tif" and hits[0].score == pytest.approx(1, abs=1e-6) and hits[1].score < 0.99
        values = np.stack([collection.encoder.square(folder / "2.tif", collection.reading)], axis=0)
        assert collection.vectors_of([hits[0].item.id])[0] == pytest.approx(
            collection.encoder.embed_pixels(values)[0], abs=5e-6
        )
    assert read_status(target).reading == {"range": "0 2100"}
    index_folders([], target, workers=0)
    index_folders([], target, value_range="0,2100", workers=0)
    with pytest.raises(UserError, match="made with --range 0 2100"):
        index_folders([], target, value_range="auto", workers=0)


def test_a_collection_of_bands(tmp_path, encoder):
    folder = tmp_path / "tiles"
    folder.mkdir()
    for number in range(3):
        values = np.random.default_rng(number).integers(0, 3000, (8, 8, 13), np.uint16).repeat(4, 0).repeat(4, 1)
        (folder / f"{number}.tif").write_bytes(tiff(values, photometric="minisblack", planarconfig="contig"))
    (folder / "rgb.tif").write_bytes(tiff(np.zeros((9, 9, 3), np.uint8), photometric="rgb"))
    update = index_folders([folder], tmp_path / "made", str(encoder), bands="4,3,2", value_range="0 3000", workers=0)
    assert (update.images, [reason for _, reason in update.failed]) == (
        3, ["has 3 bands, and --bands 4,3,2 asks for more"],
    )  # fmt: skip
    with Collection.open(tmp_path / "made") as collection:
        expected = np.asarray(decode((folder / "1.tif").read_bytes(), reading=Reading((0.0, 3000.0), (4, 3, 2))))
        square = Encoder(encoder).square(expected)
        hit = collection.search(folder / "1.tif", k=1)[0]
        assert hit.path.name == "1.tif" and hit.score == pytest.approx(1, abs=1e-6)
        vector = square.reshape(-1).astype(float) - 127.5
        assert collection.vectors_of([hit.item.id])[0] == pytest.approx(vector / np.linalg.norm(vector), abs=1e-5)


def test_all_pages_are_images_of_their_own(tmp_path, encoder):
    folder = tmp_path / "scans"
    folder.mkdir()
    scan = pages(folder / "scan.tif", [1, 2, 3])
    paint(folder / "photo.jpg", 9)
    target = tmp_path / "made"
    first = index_folders([folder], target, str(encoder), workers=0)
    assert (first.images, first.pages_left_out, first.paged_files) == (2, 2, 1)
    update = index_folders([folder], target, pages="all", workers=0)
    assert (update.images, update.added, update.removed, update.pages_left_out) == (4, 2, 0, 0)
    assert read_status(target).reading == {"pages": "all"}
    with Collection.open(target) as collection:
        assert [item.path for item in collection] == [folder / "photo.jpg", scan, scan / "page 2", scan / "page 3"]
        alone = pages(tmp_path / "2.tif", [2])
        hit = collection.search(alone, k=1)[0]
        assert (hit.path, round(hit.score, 5)) == (scan / "page 2", 1.0)
        assert collection.search(scan / "page 2", k=1)[0].path == scan / "page 2"
        collection.set_labels({hit.item.id: "second"})  # a page's own, not its file's
        assert list(collection.labels()) == [hit.item.id]
        assert collection.duplicates(exact=True) == []
    unchanged = index_folders([folder], target, workers=0)
    assert (unchanged.images, unchanged.added, unchanged.changed, unchanged.removed) == (4, 0, 0, 0)
    pages(scan, [1, 2])
    fewer = index_folders([folder], target, workers=0)
    assert (fewer.images, fewer.removed) == (3, 1)
    moved = folder / "moved.tif"
    scan.rename(moved)
    again = index_folders([folder], target, workers=0)
    assert (again.images, again.moved, again.reused) == (3, 2, 2)
    back = index_folders([folder], target, pages="first", workers=0)
    assert (back.images, back.removed) == (2, 1)


def test_the_command_says_what_is_left_out_and_status_how_files_are_read(tmp_path, encoder, run, folder):
    (folder / "dem").mkdir(parents=True, exist_ok=True)
    pages(folder / "dem" / "scan.tif", [1, 2])
    target = tmp_path / "made"
    done = run("index", "--range", "-10", "4000", folder / "dem", "--collection", target, "--encoder", encoder)
    assert done.returncode == 0 and "1 further pages or frames of 1 file left out; --pages all" in done.stderr
    assert "read with   --range -10 4000" in run("status", target).stdout
    for wrong in (["--range", "9"], ["--range", "5", "1"], ["--bands", "0,1"], ["--pages", "last"]):
        refused(run("index", folder / "dem", "--collection", tmp_path / "other", "--encoder", encoder, *wrong))
        assert not (tmp_path / "other").exists()


def dicom_frames(file: Path, seeds: list[int]) -> Path:
    frames = [
        np.random.default_rng(seed).integers(0, 256, (6, 8), np.uint8).repeat(8, 0).repeat(8, 1) for seed in seeds
    ]
    file.write_bytes(dicom_file(np.stack(frames)))
    return file


def test_each_frame_of_a_dicom_file_is_a_picture(tmp_path):
    file = dicom_frames(tmp_path / "heart.dcm", [1, 2, 3, 4])
    alone = {seed: decode(dicom_frames(tmp_path / f"{seed}.dcm", [seed])).tobytes() for seed in (1, 2, 3, 4)}
    assert decode(file).tobytes() == alone[3]  # the middle one
    for page in (1, 2, 3, 4):
        assert decode(file / f"page {page}").tobytes() == alone[page]
    with pytest.raises(ImageError, match="no page 5"):
        read_image(file / "page 5")
    assert page_of(file / "page 1") == (file, 0) and page_path(file, 0) == file / "page 1"
    scan = pages(tmp_path / "scan.tif", [1, 2])
    assert decode(scan / "page 1").tobytes() == decode(scan).tobytes()


def test_all_frames_are_images_of_their_own(tmp_path, encoder):
    folder = tmp_path / "study"
    folder.mkdir()
    heart = dicom_frames(folder / "heart.dcm", [1, 2, 3, 4])
    dicom_frames(folder / "two.dcm", [5, 6])
    dicom_frames(folder / "one.dcm", [7])
    target = tmp_path / "made"
    first = index_folders([folder], target, str(encoder), workers=0)
    assert (first.images, first.pages_left_out, first.paged_files) == (3, 4, 2)
    update = index_folders([folder], target, pages="all", workers=0)
    assert (update.images, update.added, update.failed, update.pages_left_out) == (7, 4, [], 0)
    stored = b"".join(file.read_bytes() for file in target.iterdir() if file.is_file())
    assert b"Secret" not in stored and b"4711" not in stored and b"Secret" in heart.read_bytes()
    with Collection.open(target) as collection:
        assert [str(item.path.relative_to(folder)) for item in collection] == [
            *("heart.dcm", "heart.dcm/page 1", "heart.dcm/page 2", "heart.dcm/page 4"),
            *("one.dcm", "two.dcm", "two.dcm/page 1"),
        ]
        for number, name in ((1, "page 1"), (3, ""), (4, "page 4")):
            alone = dicom_frames(tmp_path / "alone.dcm", [number])
            assert collection.search(alone, k=1)[0].path == heart / name
        assert collection.search(heart / "page 1", k=1)[0].path == heart / "page 1"
        assert collection.duplicates(exact=True) == []
        assert collection.verify() == []
    unchanged = index_folders([folder], target, reread=True, workers=0)
    assert (unchanged.images, unchanged.added, unchanged.changed, unchanged.removed) == (7, 0, 0, 0)
    assert index_folders([folder], target, pages="first", workers=0).removed == 4


@pytest.mark.parametrize("damage", ["vector", "thumbnail", "none"])
def test_verify_knows_pages(tmp_path, encoder, damage):
    """A damaged page is forgotten alone, read again by the next update, and keeps its label."""
    folder = tmp_path / "scans"
    folder.mkdir()
    scan = pages(folder / "scan.tif", [1, 2, 3])
    dicom_frames(folder / "heart.dcm", [4, 5, 6])
    target = tmp_path / "made"
    index_folders([folder], target, str(encoder), pages="all", workers=0)
    with Collection.open(target) as collection:
        expected = {item.path: collection.vectors_of([item.id])[0].tobytes() for item in collection}
        [second] = [item.id for item in collection if item.path == scan / "page 2"]
        collection.set_labels({second: "second"})
    if damage != "none":
        with contextlib.closing(sqlite3.connect(target / "catalog.sqlite")) as database, database:
            table, column = {"vector": ("vectors", "vector"), "thumbnail": ("thumbnails", "jpeg")}[damage]
            database.execute(f"UPDATE {table} SET {column} = zeroblob(length({column})) WHERE item = ?", (second,))
    with Collection.open(target) as collection:
        found = collection.verify()
        assert bool(found) == (damage != "none")
        assert {finding.subject for finding in found} <= {scan / "page 2"}, found
    update = index_folders([], target, workers=0)
    assert (update.images, update.failed) == (6, [])
    with Collection.open(target) as collection:
        assert {item.path: collection.vectors_of([item.id])[0].tobytes() for item in collection} == expected
        labelled = [collection.item(key) for key in collection.labels()]
        assert [item and item.path for item in labelled] == [scan / "page 2"]
