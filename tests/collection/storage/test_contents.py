"""What a collection says of its images: items, thumbnails, hashes."""

import hashlib
import io
import os
import sqlite3

import numpy as np
import pytest
from PIL import Image

from tests.support.small_encoder import (
    expected_vector,
    paint,
)

ROTATED = "castles/neuschwanstein-castle-near-duplicate-exif-rotated.jpg"


def test_length_and_iteration(ready, photos):
    paths = [item.path for item in ready]
    assert paths == sorted(photos.rglob("*.jpg"), key=os.fsencode)
    assert len(ready) == len(paths) == 126
    assert ready.roots == [photos]
    assert ready.failures() == []


def test_items_in_pages(ready):
    everything = ready.items()
    pages = [ready.items(limit=50, offset=offset) for offset in (0, 50, 100, 150)]
    assert [len(page) for page in pages] == [50, 50, 26, 0]
    assert [item for page in pages for item in page] == everything
    assert len({item.id for item in everything}) == 126


def test_items_know_their_files(ready):
    for item in ready:
        with Image.open(item.path) as image:
            size = image.size[::-1] if image.getexif().get(0x0112, 1) > 4 else image.size  # as it is seen
            assert (item.width, item.height, item.format) == (*size, "JPEG")
        assert (item.size, item.mtime_ns) == (item.path.stat().st_size, item.path.stat().st_mtime_ns)
        assert ready.item(item.id) == item
    assert ready.item(10**9) is None


def test_thumbnails(ready, photos):
    for item in ready.items()[::10]:
        jpeg = ready.thumbnail(item.id)
        assert jpeg is not None
        with Image.open(io.BytesIO(jpeg)) as thumbnail:
            assert thumbnail.format == "JPEG"
            assert max(thumbnail.size) >= min(240, max(item.width, item.height))
            assert max(thumbnail.size) < 480
            assert thumbnail.width / thumbnail.height == pytest.approx(item.width / item.height, rel=0.02)
            shown = np.asarray(thumbnail.convert("RGB").resize((8, 8), Image.Resampling.BOX), float)
        if item.path != photos / ROTATED:
            with Image.open(item.path) as image:
                expected = np.asarray(image.convert("RGB").resize((8, 8), Image.Resampling.BOX), float)
            assert np.abs(shown - expected).mean() < 4
    assert ready.thumbnail(10**9) is None


def test_small_images_keep_their_size_as_thumbnails(collection):
    jpeg = collection.thumbnail(next(iter(collection)).id)
    assert jpeg is not None
    with Image.open(io.BytesIO(jpeg)) as thumbnail:
        assert thumbnail.size == (40, 30)


def test_thumbnails_hold_nothing_but_the_picture(empty, tmp_path):
    (tmp_path / "one").mkdir()
    exif = Image.Exif()
    exif[0x010E] = "secret"
    Image.new("RGB", (300, 200)).save(tmp_path / "one/a.jpg", comment=b"secret " * 5000, exif=exif, dpi=(300, 300))
    empty.update([tmp_path / "one"], workers=0)
    jpeg = empty.thumbnail(next(iter(empty)).id)
    assert jpeg is not None and b"secret" not in jpeg and len(jpeg) < 5000


def test_extreme_shapes(empty, tmp_path):
    for size in ((1, 5000), (5000, 1), (1, 1)):
        paint(tmp_path / "odd" / f"{size[0]}x{size[1]}.jpg", 1, size)
    update = empty.update([tmp_path / "odd"], workers=0)
    assert (update.images, update.failed) == (3, [])
    for item in empty:
        jpeg = empty.thumbnail(item.id)
        assert jpeg is not None
        with Image.open(io.BytesIO(jpeg)) as thumbnail:
            assert max(thumbnail.size) < 480
        assert len(empty.search(item)) == 2


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "JPG", "png", "webp", "gif", "bmp", "tif", "TIFF", "avif"])
def test_formats(empty, tmp_path, suffix):
    file = paint(tmp_path / "one" / f"x.{suffix}", 3)
    update = empty.update([tmp_path / "one"], workers=0)
    assert update.failed == []
    [hit] = empty.search(expected_vector(file))
    assert hit.path == file
    assert hit.score == pytest.approx(1, abs=1e-5)


def test_the_catalog_holds_the_hash_of_each_file(collection, folder):
    database = sqlite3.connect(collection.folder / "catalog.sqlite")
    stored = dict(database.execute("SELECT path, digest FROM items"))
    database.close()
    assert stored == {str(path): hashlib.sha256(path.read_bytes()).digest() for path in folder.rglob("*.jpg")}
