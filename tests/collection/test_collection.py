"""The collection as scripts use it: searching it, bringing it up to date, and what a killed update leaves."""

import contextlib
import hashlib
import io
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import simsiam_retrieval
import simsiam_retrieval.collection.creation as creation
import simsiam_retrieval.collection.update.run_update as run_update
from simsiam_retrieval import Collection, UserError, load_encoder
from simsiam_retrieval.collection.storage.opening import open_to_update
from simsiam_retrieval.collection.storage.sqlite_store import SqliteStore
from simsiam_retrieval.collection.update import catalog_entries
from simsiam_retrieval.images.files import list_images
from tests.support.small_encoder import (
    CHUNK,
    Killed,
    contents,
    expected_vector,
    names,
    paint,
    small_encoder,
    stop_after,
    summary,
)

pytestmark = pytest.mark.usefixtures("each_chunk_kept")  # for those that stop after so many chunks


@pytest.fixture
def empty(tmp_path: Path) -> Collection:
    """A new collection with the small encoder."""
    return Collection.create(tmp_path / "collection", small_encoder(tmp_path / "small.onnx"))


@pytest.fixture
def collection(empty: Collection, folder: Path) -> Collection:
    """A collection of ``folder``."""
    empty.update([folder], workers=0)
    return empty


@pytest.fixture(scope="session")
def ready(collection_dir: Path) -> Collection:
    """The collection of the example photos; read only."""
    return Collection.open(collection_dir)


@pytest.fixture(scope="session")
def brute_force(photos: Path, encoder_file: Path) -> Callable[[NDArray], list[tuple[float, Path]]]:
    """A function that ranks the example photos by cosine similarity to a vector, in numpy."""
    paths = sorted(photos.rglob("*.jpg"))
    vectors = load_encoder(encoder_file, device="cpu").embed(paths).astype(float)

    def ranked(vector: NDArray) -> list[tuple[float, Path]]:
        cosine = vectors @ vector / np.linalg.norm(vectors, axis=1) / np.linalg.norm(vector)
        return [(cosine[i], paths[i]) for i in np.argsort(-cosine)]

    return ranked


# -- searching


def test_search_equals_brute_force(ready, brute_force, photos, encoder_file):
    encoder = load_encoder(encoder_file, device="cpu")
    for query in sorted(photos.glob("*/*.jpg"))[::20]:
        hits = ready.search(query, k=10)
        expected = {path: score for score, path in brute_force(encoder.embed([query])[0])}
        assert [hit.score for hit in hits] == pytest.approx(sorted(expected.values(), reverse=True)[:10], abs=1e-4)
        assert [hit.score for hit in hits] == pytest.approx([expected[hit.path] for hit in hits], abs=1e-4)
        assert [hit.rank for hit in hits] == list(range(1, 11))
        assert len({hit.path for hit in hits}) == 10


def test_scores_and_order_are_those_of_numpy(collection, folder):
    paths = sorted(folder.rglob("*.jpg"))
    vectors = np.stack([expected_vector(path) for path in paths])
    for query, vector in zip(paths, vectors, strict=True):
        cosine = vectors @ vector
        hits = collection.search(query)
        assert [hit.path for hit in hits] == [paths[i] for i in np.argsort(-cosine)]
        assert [hit.score for hit in hits] == pytest.approx(np.sort(cosine)[::-1], abs=1e-5)


def test_a_photo_of_the_collection_finds_itself(ready):
    """With score 1: a query is read as the files of the collection were."""
    for item in ready.items()[::6]:
        scores = {hit.path: hit.score for hit in ready.search(item.path, k=10)}  # so small an encoder has ties
        assert scores.get(item.path) == pytest.approx(1, abs=1e-5)


def test_scores_stay_within_one(ready):
    assert max(ready.search(item)[0].score for item in ready.items(40)) <= 1
    assert max(ready.search(item.path)[0].score for item in ready.items(40)) <= 1


def test_k(collection):
    query = next(iter(collection))
    assert len(collection.search(query.path, k=1)) == 1
    assert len(collection.search(query.path, k=10**6)) == 5
    assert len(collection.search(query, k=10**6)) == 4  # itself left out
    assert len(collection.search(query, k=2)) == 2
    for k in (0, -1):
        with pytest.raises(UserError, match="at least one"):
            collection.search(query.path, k=k)


@pytest.mark.parametrize("kind", ["text", "path", "bytes", "pil", "array"])
def test_queries_of_every_kind_give_the_same(collection, folder, kind):
    path = folder / "c.jpg"
    with Image.open(path) as image:
        pil = image.convert("RGB")
    kinds = {"text": str(path), "path": path, "bytes": path.read_bytes(), "pil": pil, "array": np.asarray(pil)}
    expected = collection.search(expected_vector(path))
    hits = collection.search(kinds[kind])
    assert hits[0].path == path
    assert hits[0].score == pytest.approx(1, abs=1e-5)
    assert [hit.path for hit in hits] == [hit.path for hit in expected]
    assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in expected], abs=1e-5)


def test_a_vector_is_scaled(collection, folder):
    vector = expected_vector(folder / "b.jpg")
    for query in (vector, 1000 * vector, (1e-3 * vector).astype(np.float32), vector.astype(np.float16)):
        best = collection.search(query, k=1)[0]
        assert best.path == folder / "b.jpg"
        assert best.score == pytest.approx(1, abs=1e-3)
    assert collection.search(-vector)[-1].score == pytest.approx(-1, abs=1e-5)


@pytest.mark.parametrize(
    "query", [np.ones(5), np.zeros(192), np.full(192, np.nan), np.ones((1, 192)), np.ones(192, int)]
)
def test_vectors_that_are_none(collection, query):
    with pytest.raises((ValueError, UserError)):
        collection.search(query)


def test_an_item_is_left_out_of_its_own_results(collection, folder):
    vectors = {path: expected_vector(path) for path in folder.rglob("*.jpg")}
    for item in collection:
        hits = collection.search(item, k=3)
        others = sorted(
            (vector @ vectors[item.path] for path, vector in vectors.items() if path != item.path), reverse=True
        )
        assert item.path not in [hit.path for hit in hits]
        assert [hit.rank for hit in hits] == [1, 2, 3]
        assert [hit.score for hit in hits] == pytest.approx(others[:3], abs=1e-5)


def test_an_item_is_left_out_among_its_copies(empty, tmp_path):
    for number in range(30):
        paint(tmp_path / "copies" / f"{number}.jpg", seed=1)
    empty.update([tmp_path / "copies"], workers=0)
    for item in empty:
        hits = empty.search(item, k=4)
        assert len(hits) == 4
        assert item not in [hit.item for hit in hits]
        assert [hit.rank for hit in hits] == [1, 2, 3, 4]


def test_an_item_that_is_gone(collection, folder):
    old = collection.search(folder / "sub/e.jpg", k=1)[0].item
    (folder / "sub/e.jpg").unlink()
    collection.update([folder])
    with pytest.raises(UserError, match=r"e\.jpg"):
        collection.search(old)
    assert collection.item(old.id) is None
    assert collection.thumbnail(old.id) is None


def test_ids_are_never_given_twice(collection, folder):
    """An item that somebody still holds, say a web page, must not turn into another picture."""
    old = collection.search(folder / "sub/e.jpg", k=1)[0].item
    (folder / "sub/e.jpg").unlink()
    collection.update([folder])
    paint(folder / "another.jpg", 100)
    collection.update([folder], workers=0)
    with pytest.raises(UserError, match=r"e\.jpg"):
        collection.search(old)
    assert collection.thumbnail(old.id) is None


ROTATED = "castles/neuschwanstein-castle-near-duplicate-exif-rotated.jpg"


@pytest.mark.parametrize("kind", ["path", "bytes", "pil"])
def test_a_copy_rotated_by_exif_finds_the_original(ready, photos, kind):
    with Image.open(photos / ROTATED) as image:
        assert image.getexif()[0x0112] in (5, 6, 7, 8)
        image.load()
    query = {"path": photos / ROTATED, "bytes": (photos / ROTATED).read_bytes(), "pil": image}[kind]
    hits = ready.search(query, k=2)
    assert {hit.path for hit in hits} == {photos / ROTATED, photos / "castles/neuschwanstein-castle.jpg"}
    assert [hit.score for hit in hits] == pytest.approx([1, 1], abs=5e-3)


@pytest.mark.parametrize("query", [b"", b"no image", "missing.jpg", Path("missing.jpg"), "/"])
def test_queries_that_cannot_be_read(collection, query):
    with pytest.raises(UserError) as error:
        collection.search(query)
    assert "\n" not in str(error.value)
    assert "Errno" not in str(error.value)


# -- reading


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


# -- updating


def test_the_first_update(empty, folder):
    (folder / "notes.txt").write_text("no image")
    update = empty.update([folder], workers=0)
    assert summary(update) == (5, 0, 0, 5)
    assert (update.finished, update.failed, update.other_files) == (True, [], 1)
    for path, vector in contents(empty).items():
        assert np.frombuffer(vector, "<f4") == pytest.approx(expected_vector(path), abs=1e-5)


def test_a_second_update_reads_nothing(collection, folder, monkeypatch):
    before = contents(collection)
    for path in folder.rglob("*.jpg"):  # would be noticed as broken if it was opened
        status = path.stat()
        path.write_bytes(b"x" * status.st_size)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with contextlib.closing(open_to_update(collection.folder)) as store:  # or they would be read for their change time
        store.note_change_times(list_images([folder]).images)
    monkeypatch.setattr(run_update, "embed_files", lambda *args, **kwargs: pytest.fail("embedded"))
    totals: list[int] = []
    generation = collection.generation
    assert summary(collection.update([folder], on_start=totals.append)) == (0, 0, 0, 5)
    assert totals == [0]
    assert collection.generation == generation
    assert contents(collection) == before


def test_a_new_file(collection, folder):
    before = contents(collection)
    paint(folder / "new.jpg", 50)
    seen: list[int] = []
    update = collection.update([folder], workers=0, on_start=seen.append, on_progress=seen.append)
    assert summary(update) == (1, 0, 0, 6)
    assert seen == [1, 1]
    assert collection.search(folder / "new.jpg", k=1)[0].path == folder / "new.jpg"
    after = contents(collection)
    assert after.pop(folder / "new.jpg") not in before.values()
    assert after == before


def test_a_changed_file(collection, folder):
    paint(folder / "a.jpg", 51)
    assert summary(collection.update([folder], workers=0)) == (0, 1, 0, 5)
    best = collection.search(folder / "a.jpg", k=1)[0]
    assert best.path == folder / "a.jpg"
    assert best.score == pytest.approx(1, abs=1e-5)
    assert best.item.size == (folder / "a.jpg").stat().st_size
    assert len(contents(collection)) == 5


def test_a_file_with_a_new_time_only_is_read_again(collection, folder):
    before = contents(collection)
    os.utime(folder / "a.jpg", (1, 1))
    assert summary(collection.update([folder], workers=0)) == (0, 1, 0, 5)
    assert contents(collection) == before


def test_a_removed_and_a_renamed_file(collection, folder):
    (folder / "b.jpg").unlink()
    (folder / "c.jpg").rename(folder / "sub/z.jpg")
    assert summary(collection.update([folder], workers=0)) == (1, 0, 2, 4)
    assert names(collection) == ["a.jpg", "d.jpg", "e.jpg", "z.jpg"]
    assert collection.search(folder / "sub/z.jpg", k=1)[0].path == folder / "sub/z.jpg"


def test_an_emptied_folder(collection, folder):
    shutil.rmtree(folder)
    folder.mkdir()
    assert summary(collection.update([folder], workers=0, prune=True)) == (0, 0, 5, 0)
    assert len(collection) == 0
    assert collection.search(np.ones(192)) == []
    assert list(collection) == []


def test_roots_are_independent(collection, folder, tmp_path):
    paint(tmp_path / "second/x.jpg", 60)
    paint(tmp_path / "second/y.jpg", 61)
    assert summary(collection.update([tmp_path / "second"], workers=0)) == (2, 0, 0, 7)
    (folder / "a.jpg").unlink()
    (tmp_path / "second/x.jpg").unlink()
    assert summary(collection.update([tmp_path / "second"], workers=0)) == (0, 0, 1, 6)
    assert names(collection) == ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg", "y.jpg"]
    assert summary(collection.update([folder, tmp_path / "second"], workers=0)) == (0, 0, 1, 5)
    assert collection.roots == sorted([folder, tmp_path / "second"])


def test_a_root_beside_another_with_the_same_beginning(collection, folder):
    paint(folder.with_name("pictures 2") / "x.jpg", 60)
    collection.update([folder.with_name("pictures 2")], workers=0)
    shutil.rmtree(folder.with_name("pictures 2") / "x.jpg", ignore_errors=True)
    assert summary(collection.update([folder], workers=0)) == (0, 0, 0, 6)


def test_a_subfolder_or_a_file_can_be_updated_alone(collection, folder):
    (folder / "a.jpg").unlink()
    paint(folder / "sub/f.jpg", 70)
    paint(folder / "b.jpg", 71)
    assert summary(collection.update([folder / "sub"], workers=0)) == (1, 0, 0, 6)
    assert summary(collection.update([folder / "b.jpg"], workers=0)) == (0, 1, 0, 6)


@pytest.mark.parametrize("spelling", [".", "../pictures", "./sub/..", "sub/../../pictures/"])
def test_every_spelling_of_a_root_is_the_same_root(collection, folder, monkeypatch, spelling):
    monkeypatch.chdir(folder)
    (folder / "a.jpg").unlink()
    assert summary(collection.update([spelling], workers=0)) == (0, 0, 1, 4)
    assert collection.roots == [folder]


def test_a_root_in_the_home_folder(collection, folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    assert summary(collection.update(["~/pictures"], workers=0)) == (0, 0, 0, 5)


def test_overlapping_roots_count_each_file_once(empty, folder):
    assert summary(empty.update([folder, folder / "sub", folder], workers=0)) == (5, 0, 0, 5)


def test_a_root_that_vanished_is_an_error_and_forgets_nothing(collection, folder):
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(UserError, match="pictures"):
        collection.update([folder])
    assert len(collection) == 5
    assert collection.generation == 1


def test_a_subfolder_that_cannot_be_read_keeps_its_items(collection, folder, monkeypatch):
    listed = os.scandir

    def scandir(path):
        if Path(os.fsdecode(path)).name == "sub":
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    (folder / "a.jpg").unlink()
    update = collection.update([folder], workers=0)
    assert summary(update) == (0, 0, 1, 4)
    assert [path for path, _ in update.failed] == [folder / "sub"]
    assert names(collection) == ["b.jpg", "c.jpg", "d.jpg", "e.jpg"]
    monkeypatch.undo()  # or the test's own folder could not be removed


@pytest.mark.parametrize("code", [13, 5, 36, 107], ids=["EACCES", "EIO", "ENAMETOOLONG", "ENOTCONN"])
def test_a_file_that_cannot_be_asked_after_keeps_its_item(collection, folder, monkeypatch, code):
    """As in a folder that may be listed but not entered, on a failing disk, or where a network drive is gone."""
    stat = os.stat

    def failing(path, *args, **kwargs):
        if not isinstance(path, int) and os.fsdecode(path).endswith("e.jpg"):
            raise OSError(code, os.strerror(code), path)
        return stat(path, *args, **kwargs)

    monkeypatch.setattr(os, "stat", failing)
    (folder / "a.jpg").unlink()
    update = collection.update([folder], workers=0)
    assert summary(update) == (0, 0, 1, 4)
    assert [path for path, _ in update.failed] == [folder / "sub/e.jpg"]
    assert names(collection) == ["b.jpg", "c.jpg", "d.jpg", "e.jpg"]
    monkeypatch.undo()  # or the test's own folder could not be removed


def test_folders_as_deep_as_the_system_allows(empty, tmp_path):
    """Deeper than Python's recursion limit."""
    deep = tmp_path / "deep" / Path(*["d"] * 1200)
    subprocess.run(["mkdir", "-p", deep], check=True)  # Python's own recurses
    shutil.copy(paint(tmp_path / "x.jpg", 1), deep)
    try:
        assert summary(empty.update([tmp_path / "deep"], workers=0)) == (1, 0, 0, 1)
    finally:
        subprocess.run(["rm", "-rf", tmp_path / "deep"], check=True)


def test_generation_grows_only_with_a_change(collection, folder, tmp_path):
    assert collection.generation == 1
    collection.update([folder])
    assert collection.generation == 1
    (folder / "a.jpg").unlink()
    collection.update([folder])
    assert collection.generation == 2
    (tmp_path / "nothing").mkdir()
    collection.update([tmp_path / "nothing"])
    assert collection.generation == 2
    (folder / "broken.jpg").touch()
    collection.update([folder])
    assert collection.generation == 3
    collection.update([folder])
    assert collection.generation == 3


# -- files that cannot be used

HOSTILE = "<img src=x onerror=alert(1)>.jpg"


@pytest.fixture
def broken(folder: Path) -> dict[bytes, Path]:
    """Adds files to ``folder`` that cannot be used: name -> path."""
    whole = (folder / "a.jpg").read_bytes()
    made = {
        b"empty.jpg": b"",
        b"truncated.jpg": whole[: len(whole) // 2],
        b"text.jpg": b"not a picture",
        b"not utf-8 \xff.jpg": b"not a picture",
        b"two\nlines.jpg": b"not a picture",
        HOSTILE.encode(): b"not a picture",
    }
    for name, content in made.items():
        (folder / os.fsdecode(name)).write_bytes(content)
    os.mkfifo(folder / "fifo.jpg")
    (folder / "broken link.jpg").symlink_to("nowhere")
    return {name: folder / os.fsdecode(name) for name in [*made, b"fifo.jpg", b"broken link.jpg"]}


def test_broken_files_are_listed_with_reasons(empty, folder, broken):
    (folder / "directory.jpg").mkdir()
    paint(folder / "directory.jpg" / "inside.jpg", 80)
    update = empty.update([folder], workers=0)
    assert summary(update) == (6, 0, 0, 6)
    reasons = dict(update.failed)
    assert set(reasons) == set(broken.values())
    assert len(update.failed) == len(reasons)
    assert all(reason and "\n" not in reason for reason in reasons.values())
    assert "not an image" in reasons[folder / "empty.jpg"]
    assert "not an image" in reasons[folder / "text.jpg"]
    assert "damaged" in reasons[folder / "truncated.jpg"]
    assert "not a regular file" in reasons[folder / "fifo.jpg"]
    stored = dict(empty.failures())
    assert set(stored) == set(broken.values()) - {folder / "fifo.jpg", folder / "broken link.jpg"}
    assert names(empty) == ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "inside.jpg", "e.jpg"]


def test_broken_files_are_not_tried_again(empty, folder, broken, monkeypatch):
    first = empty.update([folder], workers=0)
    monkeypatch.setattr(run_update, "embed_files", lambda *args, **kwargs: pytest.fail("tried again"))
    second = empty.update([folder], workers=0)
    assert sorted(second.failed) == sorted(first.failed)
    assert (second.images, second.changed, empty.generation) == (5, 0, 1)


def test_broken_files_are_tried_when_they_change(empty, folder, broken):
    empty.update([folder], workers=0)
    for number, path in enumerate(broken.values()):
        path.unlink()
        paint(path, 90 + number)
    update = empty.update([folder], workers=0)
    assert (update.failed, update.images, len(empty)) == ([], 13, 13)
    assert update.added + update.changed == 8
    assert empty.failures() == []
    for path in broken.values():
        best = empty.search(path, k=1)[0]
        assert best.path == path
        assert best.score == pytest.approx(1, abs=1e-5)


def test_a_file_that_breaks_cannot_be_found_any_more(collection, folder):
    (folder / "a.jpg").write_bytes(b"broken now")
    update = collection.update([folder], workers=0)
    assert (update.images, [path for path, _ in update.failed]) == (4, [folder / "a.jpg"])
    assert names(collection) == ["b.jpg", "c.jpg", "d.jpg", "e.jpg"]
    assert len(collection.search(np.ones(192))) == 4


def test_things_with_other_names_are_not_broken_images(empty, folder):
    os.mkfifo(folder / "a pipe")
    (folder / "a link.txt").symlink_to("nowhere")
    assert empty.update([folder], workers=0).failed == []


def test_hidden_files_and_links_to_folders_are_left_out(empty, folder, tmp_path):
    paint(folder / ".hidden.jpg", 1)
    paint(folder / ".cache/x.jpg", 1)
    (folder / "again").symlink_to(folder)
    paint(tmp_path / "target.jpg", 2)
    (folder / "link.jpg").symlink_to(tmp_path / "target.jpg")
    assert summary(empty.update([folder], workers=0)) == (6, 0, 0, 6)
    assert "link.jpg" in names(empty)


# -- updates that are interrupted


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """40 pictures, which take three chunks."""
    for number in range(40):
        paint(tmp_path / "many" / f"{number:02d}.jpg", number)
    (tmp_path / "many" / "20 broken.jpg").touch()
    return tmp_path / "many"


@pytest.fixture
def undisturbed(many: Path, tmp_path: Path) -> dict[Path, bytes]:
    """What a collection of ``many`` should hold."""
    with Collection.create(tmp_path / "undisturbed", small_encoder(tmp_path / "small.onnx")) as collection:
        assert collection.update([many], workers=0).images == 40
        return contents(collection)


def test_ctrl_c_keeps_what_is_done(empty, many, undisturbed):
    update = empty.update([many], workers=0, on_progress=stop_after(2, KeyboardInterrupt))
    assert not update.finished
    assert (update.added, update.images) == (31, 31)  # two chunks less the broken file
    assert len(empty) == 31
    assert set(contents(empty).items()) < set(undisturbed.items())
    rest: list[int] = []
    assert summary(empty.update([many], workers=0, on_start=rest.append)) == (9, 0, 0, 40)
    assert rest == [9]
    assert contents(empty) == undisturbed
    assert [path.name for path, _ in empty.failures()] == ["20 broken.jpg"]


def test_ctrl_c_keeps_what_waited_to_be_stored(empty, many, undisturbed, monkeypatch):
    monkeypatch.setattr(catalog_entries, "BATCH_SECONDS", 60.0)
    embed_files = run_update.embed_files

    def interrupted(*args, **kwargs):
        chunks = embed_files(*args, **kwargs)
        yield next(chunks)
        yield next(chunks)
        raise KeyboardInterrupt

    monkeypatch.setattr(run_update, "embed_files", interrupted)
    update = empty.update([many], workers=0)
    assert (update.finished, update.images) == (False, 2 * CHUNK - 1)  # less the broken file
    monkeypatch.undo()
    assert empty.update([many], workers=0).images == 40
    assert contents(empty) == undisturbed


def test_ctrl_c_while_storing(empty, many, undisturbed, monkeypatch):
    """What was embedded is stored once more, not lost."""
    add, calls = SqliteStore.add, []

    def interrupted(catalog, entries):
        calls.append(len(entries))
        if len(calls) == 1:
            add(catalog, entries[:5])
            raise KeyboardInterrupt
        add(catalog, entries)

    monkeypatch.setattr(SqliteStore, "add", interrupted)
    update = empty.update([many], workers=0)
    assert calls == [CHUNK, CHUNK]
    assert (update.finished, update.images) == (False, CHUNK)
    assert empty.update([many], workers=0).images == 40
    assert contents(empty) == undisturbed


def test_a_failure_keeps_what_came_before_it(empty, many, monkeypatch):
    monkeypatch.setattr(catalog_entries, "BATCH_SECONDS", 60.0)
    embed_files = run_update.embed_files

    def failing(*args, **kwargs):
        yield next(embed_files(*args, **kwargs))
        raise RuntimeError("no more workers")

    monkeypatch.setattr(run_update, "embed_files", failing)
    with pytest.raises(RuntimeError, match="no more workers"):
        empty.update([many], workers=0)
    monkeypatch.undo()
    rest: list[int] = []
    empty.update([many], workers=0, on_start=rest.append)
    assert rest == [41 - CHUNK]


def test_chunks_are_stored_together(empty, many, monkeypatch):
    monkeypatch.setattr(catalog_entries, "BATCH_SECONDS", 60.0)
    together: list[int] = []
    empty.update([many], workers=0, on_progress=together.append)
    assert together == [41]
    monkeypatch.setattr(catalog_entries, "BATCH_ENTRIES", CHUNK + 1)
    for number in range(40):
        paint(many / f"{number:02d}.jpg", 100 + number)
    together.clear()
    empty.update([many], workers=0, on_progress=together.append)
    assert together == [2 * CHUNK, 40 - 2 * CHUNK]


def test_ctrl_c_while_embedding(empty, many, undisturbed, monkeypatch):
    embed_files = run_update.embed_files

    def interrupted(*args, **kwargs):
        chunks = embed_files(*args, **kwargs)
        yield next(chunks)
        raise KeyboardInterrupt

    monkeypatch.setattr(run_update, "embed_files", interrupted)
    update = empty.update([many], workers=0)
    assert (update.finished, update.images) == (False, CHUNK)
    monkeypatch.undo()
    assert empty.update([many], workers=0).images == 40
    assert contents(empty) == undisturbed


def test_ctrl_c_forgets_nothing(empty, many):
    empty.update([many], workers=0)
    for number in range(30):
        paint(many / f"{number:02d}.jpg", 100 + number)
    (many / "39.jpg").unlink()
    update = empty.update([many], workers=0, on_progress=stop_after(1, KeyboardInterrupt))
    assert (update.finished, update.removed, update.images) == (False, 0, 40)
    assert summary(empty.update([many], workers=0)) == (0, 14, 1, 39)


@pytest.mark.parametrize("chunks", [1, 2, 3])
def test_an_update_that_was_killed_is_taken_up_again(empty, many, undisturbed, chunks):
    with pytest.raises(Killed):
        empty.update([many], workers=0, on_progress=stop_after(chunks, Killed))
    with Collection.open(empty.folder) as other:
        assert (len(other), list(other), other.failures()) == (0, [], [])
        assert other.search(np.ones(192)) == []
        rest: list[int] = []
        update = other.update([many], workers=0, on_start=rest.append)
        assert rest == [max(0, 41 - CHUNK * chunks)]
        assert update.images == 40
        assert contents(other) == undisturbed
        assert [path.name for path, _ in other.failures()] == ["20 broken.jpg"]


def test_the_report_after_a_killed_update_counts_what_can_be_found_now(empty, many):
    with pytest.raises(Killed):
        empty.update([many], workers=0, on_progress=stop_after(2, Killed))
    assert summary(empty.update([many], workers=0)) == (40, 0, 0, 40)


def test_a_file_removed_after_a_killed_update_is_forgotten(collection, folder):
    paint(folder / "a.jpg", 100)
    with pytest.raises(Killed):
        collection.update([folder], workers=0, on_progress=stop_after(1, Killed))
    (folder / "a.jpg").unlink()
    collection.update([folder], workers=0)
    assert names(collection) == ["b.jpg", "c.jpg", "d.jpg", "e.jpg"]


def test_a_file_changed_back_after_a_killed_update(collection, folder):
    before = contents(collection)
    status, content = (folder / "a.jpg").stat(), (folder / "a.jpg").read_bytes()
    paint(folder / "a.jpg", 100)
    with pytest.raises(Killed):
        collection.update([folder], workers=0, on_progress=stop_after(1, Killed))
    (folder / "a.jpg").write_bytes(content)
    os.utime(folder / "a.jpg", ns=(status.st_atime_ns, status.st_mtime_ns))
    collection.update([folder], workers=0)
    assert contents(collection) == before


def test_a_file_changed_twice_around_a_killed_update(collection, folder):
    for seed in (100, 101):
        paint(folder / "a.jpg", seed)
        if seed == 100:
            with pytest.raises(Killed):
                collection.update([folder], workers=0, on_progress=stop_after(1, Killed))
    collection.update([folder], workers=0)
    assert len(contents(collection)) == 5
    assert collection.search(folder / "a.jpg", k=1)[0].score == pytest.approx(1, abs=1e-5)


SCRIPT = """
    import sys
    from simsiam_retrieval import Collection
    from simsiam_retrieval.collection.update import catalog_entries as embedding

    embedding.BATCH_SECONDS = 0.0

    def say(number):
        print(number, flush=True)
        sys.stdin.readline()

    if __name__ == "__main__":
        say("start")
        collection = Collection.create(sys.argv[1], sys.argv[2])
        collection.update([sys.argv[3]], workers=0, on_start=say, on_progress=say)
        say("end")
"""


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
def test_kill_9(empty, many, undisturbed, tmp_path, steps):
    """Killed before, between and after chunks; the lock, too, must not survive."""
    target = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), target, tmp_path / "small.onnx", many],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    with process:
        for _ in range(steps):
            assert process.stdout.readline().strip() in ("start", "41", "16", "9")
            process.stdin.write("\n")
            process.stdin.flush()
        process.stdout.readline()  # the next step is reached
        process.send_signal(signal.SIGKILL)
    with Collection.open(target) as collection:
        if steps < 5:
            assert len(collection) == 0
        assert collection.update([many], workers=0).images == 40
        assert contents(collection) == undisturbed


def test_an_interrupted_creation_can_be_repeated(folder, tmp_path, monkeypatch):
    """The default place must not be blocked for good."""
    encoder = small_encoder(tmp_path / "small.onnx")

    def killed(*args):
        raise Killed

    monkeypatch.setattr(SqliteStore, "create", killed)
    with pytest.raises(Killed):
        Collection.create(tmp_path / "collection", encoder)
    monkeypatch.undo()
    with Collection.create(tmp_path / "collection", encoder) as collection:
        assert collection.update([folder], workers=0).images == 5


# -- several at once


def test_readers_see_the_old_state_until_it_is_published(collection, folder):
    before = contents(collection)
    (folder / "b.jpg").unlink()
    for number in range(20):
        paint(folder / f"new {number}.jpg", 200 + number)
    paint(folder / "a.jpg", 300)
    query = expected_vector(folder / "a.jpg")
    seen = []

    def look(done: int) -> None:
        with Collection.open(collection.folder) as reader:
            hits = [(hit.path, hit.score) for hit in reader.search(query)]
            seen.append((contents(reader), len(reader), reader.generation, hits, reader.failures()))

    (folder / "broken.jpg").touch()
    with Collection.open(collection.folder) as reader:
        old = [(hit.path, hit.score) for hit in reader.search(query)]
        collection.update([folder], workers=0, on_start=look, on_progress=look)
        assert seen == [(before, 5, 1, old, [])] * 3
        assert len(reader) == 24
        assert reader.search(query, k=1)[0].score == pytest.approx(1, abs=1e-5)
        assert contents(reader) == contents(collection)


def test_a_search_that_an_update_overtakes(collection, folder, monkeypatch):
    """Published between the search and the look-up of its results: still five hits, of one state or the other."""
    index = type(collection._searcher.index())
    search = index.search

    def slow(self, *args):
        found = search(self, *args)
        monkeypatch.setattr(index, "search", search)
        for number in range(3):
            paint(folder / f"{'abc'[number]}.jpg", 400 + number)
        with Collection.open(collection.folder) as other:
            other.update([folder], workers=0)
        return found

    monkeypatch.setattr(index, "search", slow)
    hits = collection.search(np.ones(192))
    assert sorted(hit.path for hit in hits) == sorted(folder.rglob("*.jpg"))
    assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5]


def test_two_updates_at_once(collection, folder, tmp_path):
    paint(folder / "new.jpg", 100)
    paint(tmp_path / "second/x.jpg", 101)
    errors = []

    def meanwhile(done: int) -> None:
        with Collection.open(collection.folder) as other, pytest.raises(UserError, match="another update") as error:
            other.update([tmp_path / "second"], workers=0)
        errors.append(error)

    assert summary(collection.update([folder], workers=0, on_progress=meanwhile)) == (1, 0, 0, 6)
    assert len(errors) == 1
    with Collection.open(collection.folder) as other:
        assert summary(other.update([tmp_path / "second"], workers=0)) == (1, 0, 0, 7)
    assert len(collection) == 7


def test_two_creations_at_once(folder, tmp_path, monkeypatch):
    """The second must not take the first one's collection away."""
    encoder = small_encoder(tmp_path / "small.onnx")
    load = creation.Encoder

    def slow(*args, **kwargs):
        monkeypatch.setattr(creation, "Encoder", load)
        with Collection.create(tmp_path / "collection", encoder) as first:
            first.update([folder], workers=0)
        return load(*args, **kwargs)

    monkeypatch.setattr(creation, "Encoder", slow)
    with pytest.raises(UserError):
        Collection.create(tmp_path / "collection", encoder)
    with Collection.open(tmp_path / "collection") as first:
        assert len(first) == 5


# -- the FAISS file is a cache


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-50])


def garble(file: Path) -> None:
    file.write_bytes(b"garbage" * 100)


def replace_by_smaller(file: Path) -> None:
    write_index(file, 192, [1, 2])


def replace_by_other_ids(file: Path) -> None:
    write_index(file, 192, [101, 102, 103, 104, 105])


def replace_by_other_dim(file: Path) -> None:
    write_index(file, 7, [1, 2, 3, 4, 5])


def write_index(file: Path, dim: int, ids: list[int]) -> None:
    import faiss

    index = faiss.IndexIDMap2(faiss.IndexFlatIP(dim))
    index.add_with_ids(np.ones((len(ids), dim), np.float32), np.array(ids))
    faiss.write_index(index, str(file))


def empty_file(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize(
    "damage",
    [Path.unlink, empty_file, truncate, garble, replace_by_smaller, replace_by_other_ids, replace_by_other_dim],
)
def test_a_damaged_cache_is_rebuilt(collection, folder, damage):
    expected = collection.search(folder / "a.jpg")
    [cache] = collection.folder.glob("*.faiss")
    damage(cache)
    with Collection.open(collection.folder) as again:
        assert again.search(folder / "a.jpg") == expected


def test_a_cache_of_an_older_generation_is_not_used(collection, folder, tmp_path):
    [old] = collection.folder.glob("*.faiss")
    shutil.copy(old, tmp_path / "old.faiss")
    paint(folder / "a.jpg", 100)
    collection.update([folder], workers=0)
    expected = collection.search(folder / "a.jpg")
    [new] = collection.folder.glob("*.faiss")
    new.unlink()
    shutil.copy(tmp_path / "old.faiss", old)
    with Collection.open(collection.folder) as again:
        assert again.search(folder / "a.jpg") == expected
        paint(folder / "b.jpg", 101)
        again.update([folder], workers=0)
    assert len(list(collection.folder.glob("*.faiss"))) == 1


def test_rows_that_nobody_published_do_not_show(collection, folder):
    expected = contents(collection), collection.search(folder / "a.jpg"), collection.failures()
    for cache in collection.folder.glob("*.faiss"):
        cache.unlink()
    blob = np.ones(192, "<f4").tobytes()
    with sqlite3.connect(collection.folder / "catalog.sqlite") as database:
        database.execute("INSERT INTO items VALUES (70, '/later.jpg', 1, 1, 9, NULL, x'00', 1, 1, 'JPEG', NULL, NULL)")
        database.execute(
            "INSERT INTO items VALUES (71, '/broken.jpg', 1, 1, 9, 'broken', NULL, NULL, NULL, NULL, NULL, NULL)"
        )
        database.executemany("INSERT INTO vectors VALUES (?, ?)", [(70, blob), (99, blob)])
        database.execute("INSERT INTO thumbnails VALUES (99, x'00')")
    database.close()
    with Collection.open(collection.folder) as again:
        assert (contents(again), again.search(folder / "a.jpg"), again.failures()) == expected
        assert len(again) == 5
        assert again.item(70) is None


def test_a_moved_collection(collection, folder, tmp_path):
    expected = collection.search(folder / "a.jpg")
    collection.close()
    moved = collection.folder.rename(tmp_path / "100% möved?mode=ro#x")
    with Collection.open(moved) as again:
        assert again.search(folder / "a.jpg") == expected
        (folder / "b.jpg").unlink()
        assert summary(again.update([folder])) == (0, 0, 1, 4)


def test_a_collection_inside_its_own_folder(folder, tmp_path):
    with Collection.create(folder / "index", small_encoder(tmp_path / "small.onnx")) as collection:
        assert summary(collection.update([folder], workers=0)) == (5, 0, 0, 5)
        assert summary(collection.update([folder], workers=0)) == (0, 0, 0, 5)


def test_a_collection_whose_folder_has_an_odd_name(folder, tmp_path):
    target = tmp_path / os.fsdecode(b"not utf-8 \xff\n")
    with Collection.create(target, small_encoder(tmp_path / "small.onnx")) as collection:
        collection.update([folder], workers=0)
    with Collection.open(target) as collection:
        assert collection.search(folder / "a.jpg", k=1)[0].path == folder / "a.jpg"


# -- opening what is none


def test_open_and_exists(collection, tmp_path):
    assert Collection.exists(collection.folder)
    (tmp_path / "nothing").mkdir()
    for other in (tmp_path / "nothing", tmp_path / "missing", tmp_path / "small.onnx"):
        assert not Collection.exists(other)
        with pytest.raises(UserError, match="not a collection"):
            Collection.open(other)


def test_create_leaves_what_is_there_alone(collection, tmp_path):
    encoder = tmp_path / "small.onnx"
    (tmp_path / "in use").mkdir()
    (tmp_path / "in use" / "thesis.tex").write_text("precious")
    (tmp_path / "file").write_text("precious")
    for used in (tmp_path / "in use", tmp_path / "file", collection.folder):
        with pytest.raises(UserError, match="another --collection"):
            Collection.create(used, encoder)
    assert (tmp_path / "in use" / "thesis.tex").read_text() == (tmp_path / "file").read_text() == "precious"
    assert len(collection) == 5


def test_create_with_a_broken_encoder_leaves_nothing(tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(UserError, match=r"broken\.onnx"):
        Collection.create(tmp_path / "collection", tmp_path / "broken.onnx")
    assert not (tmp_path / "collection").exists()


def test_the_encoder_is_the_collections_own_copy(collection, folder, tmp_path):
    (tmp_path / "small.onnx").unlink()
    with Collection.open(collection.folder) as again:
        assert again.encoder.file.parent == collection.folder
        assert again.encoder.dim == again.dim == 192
        assert again.search(folder / "a.jpg", k=1)[0].path == folder / "a.jpg"


def test_another_encoder_is_refused(collection, folder):
    small_encoder(collection.folder / "encoder.onnx", grey=100)
    with Collection.open(collection.folder) as again:
        with pytest.raises(UserError, match="not the encoder"):
            again.search(folder / "a.jpg")
        paint(folder / "new.jpg", 100)
        with pytest.raises(UserError, match="not the encoder"):
            again.update([folder])
        assert len(again.search(next(iter(again)))) == 4  # needs no encoder


# -- worker processes


def test_workers_give_the_same(many, undisturbed, tmp_path):
    with Collection.create(tmp_path / "collection", tmp_path / "small.onnx") as collection:
        seen: list[int] = []
        update = collection.update([many], workers=2, on_start=seen.append, on_progress=seen.append)
        assert seen == [41, 16, 16, 9]
        assert update.images == 40
        assert contents(collection) == undisturbed


@pytest.mark.parametrize("how", ["file", "stdin"])
def test_a_script_without_a_guard(many, undisturbed, tmp_path, how):
    """Worker processes do not run it again."""
    script = f"""
        from simsiam_retrieval import Collection
        print("run")
        collection = Collection.create("collection", "small.onnx")
        print(collection.update([{str(many)!r}], workers=2).images)
    """
    (tmp_path / "script.py").write_text(textwrap.dedent(script))
    done = subprocess.run(
        [sys.executable, "script.py" if how == "file" else "-"],
        input=(tmp_path / "script.py").read_text() if how == "stdin" else None,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "run\n40\n", "")
    with Collection.open(tmp_path / "collection") as collection:
        assert contents(collection) == undisturbed


def test_what_objects_say_of_themselves(tmp_path: Path) -> None:
    paint(tmp_path / "p" / "<b>&.png", 1)
    paint(tmp_path / "p" / "other.png", 2)
    collection = Collection.create(tmp_path / "made", small_encoder(tmp_path / "small.onnx"))
    collection.update([tmp_path / "p"], workers=0)
    assert repr(collection) == f"<Collection '{tmp_path / 'made'}': 2 images, encoder {collection.encoder_identity}>"
    shown = repr(collection.encoder)
    assert collection.encoder_identity in shown and "8 px -> 192 numbers" in shown
    hits = collection.search(tmp_path / "p" / "<b>&.png")
    page = hits._repr_html_()
    assert page.count('<img src="data:image/jpeg;base64,') == page.count("<figcaption") == 2
    assert "<b>&.png" not in page and "&lt;b&gt;&amp;.png" in page
    assert isinstance(hits, list) and hits == list(hits) and hits[0].rank == 1
    collection.close()
    assert repr(collection) == f"<Collection '{tmp_path / 'made'}', not open>"
    assert simsiam_retrieval.Filter(names=("other*",))
