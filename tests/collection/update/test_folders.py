"""What of a folder is indexed: trash and system folders, links, sidecars, kinds that are not read, moved libraries."""

import contextlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from simsiam_retrieval import Collection, UserError
from simsiam_retrieval.collection.storage.opening import open_to_update
from simsiam_retrieval.images.files import list_images
from tests.support.commands import refused
from tests.support.small_encoder import contents, names, paint, small_encoder, summary


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed in range(3):
        paint(tmp_path / "photos" / f"{seed}.png", seed)
    return tmp_path / "photos"


@pytest.fixture
def collection(folder: Path, tmp_path: Path) -> Collection:
    made = Collection.create(tmp_path / "made", small_encoder(tmp_path / "small.onnx"))
    made.update([folder], workers=0)
    return made


SYSTEM = [
    "#recycle", "#Recycle", "$RECYCLE.BIN", ".Trash-1000", ".Trashes", "lost+found", "System Volume Information",
    "@eaDir", ".thumbnails", ".stversions", "#snapshot", "@Recycle", "Catalog Previews.lrdata", "__MACOSX",
]  # fmt: skip


@pytest.mark.parametrize("name", SYSTEM)
def test_trash_and_system_folders_are_passed_over_and_counted(folder: Path, name: str) -> None:
    paint(folder / "album" / name / "deep" / "deleted.png", 9)
    paint(folder / "album" / "kept.png", 10)
    listing = list_images([folder])
    assert [file.path.name for file in listing.images] == ["0.png", "1.png", "2.png", "kept.png"]
    assert sum(listing.system_folders.values()) == 1
    asked = list_images([folder / "album" / name])  # whoever names it means it
    assert [file.path.name for file in asked.images] == ["deleted.png"]


def test_of_a_photo_library_only_the_originals_are_taken(folder: Path) -> None:
    library = folder / "Holiday.photoslibrary"
    paint(library / "originals" / "A" / "1.png", 4)
    paint(library / "resources" / "derivatives" / "A" / "1_small.png", 4)
    paint(folder / "resources" / "mine.png", 5)  # the same name elsewhere is an ordinary folder
    listing = list_images([folder])
    found = {file.path.relative_to(folder).as_posix() for file in listing.images}
    assert found == {"0.png", "1.png", "2.png", "Holiday.photoslibrary/originals/A/1.png", "resources/mine.png"}


def test_what_is_in_the_trash_already_is_forgotten(collection: Collection, folder: Path) -> None:
    (folder / "#recycle").mkdir()
    (folder / "0.png").rename(folder / "#recycle" / "0.png")
    update = collection.update(workers=0)
    assert (update.removed, update.system_folders, names(collection)) == (1, {"#recycle": 1}, ["1.png", "2.png"])


def test_links_to_folders(folder: Path, tmp_path: Path, run) -> None:
    links = tmp_path / "links"
    links.mkdir()
    (links / "there").symlink_to(folder)
    (links / "circle").symlink_to(links)
    (folder / "back").symlink_to(links)
    small_encoder(tmp_path / "small.onnx")
    command = ("index", links, "--collection", tmp_path / "c", "--encoder", tmp_path / "small.onnx", "--workers", 1)
    refused(run(*command), "2 links to folders", "--follow-links")
    assert not (tmp_path / "c").exists()
    done = run(*command, "--follow-links")
    assert done.returncode == 0, done.stderr
    with Collection.open(tmp_path / "c") as collection:
        assert [item.path for item in collection] == [links / "there" / f"{seed}.png" for seed in range(3)]
        assert collection.update(workers=0).removed == 0  # kept for later updates
        update = collection.update(follow_links=False, workers=0, prune=True)
        assert (update.removed, update.linked_folders) == (3, 2)


def test_a_folder_that_two_links_lead_to_is_entered_once(folder: Path, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).symlink_to(folder)
    assert len(list_images([tmp_path], follow_links=True).images) == 3


def test_the_report_names_what_is_not_read(collection: Collection, folder: Path, run) -> None:
    for name in ("a.PSD", "b.psd", "c.mov", "notes.txt", "0.mov", "0.png.xmp", "1.aae", "README"):
        (folder / name).write_text("x")
    (folder / "@eaDir").mkdir()
    done = run("index", "--collection", collection.folder)
    assert done.returncode == 0
    assert "3 sidecars, clips and raw files of pictures, 5 other files passed over: 2 .psd, 1 " in done.stdout
    assert "pictures and clips of kinds that are not read: 2 .psd, 1 .mov\n" in done.stderr
    assert "passed over 1 trash or system folder (1 @eaDir); name it" in done.stderr


def test_files_in_the_place_of_a_folder(folder: Path, tmp_path: Path, run) -> None:
    small_encoder(tmp_path / "small.onnx")
    files = sorted(folder.iterdir())
    done = run("index", *files, "--collection", tmp_path / "c", "--encoder", tmp_path / "small.onnx", "--workers", 1)
    assert done.returncode == 0
    assert f"{files[0]} and 2 more are files" in done.stderr
    assert done.stderr.rstrip().endswith(f"python -m simsiam_retrieval.index {folder}")


# -- moved libraries


def test_a_moved_library_keeps_its_items(collection: Collection, folder: Path, tmp_path: Path, run) -> None:
    collection.set_labels({item.id: "yes" for item in collection})
    before = {item.id: item.path.name for item in collection}
    vectors = list(contents(collection).values())
    collection.close()
    folder.rename(tmp_path / "elsewhere")
    done = run("index", "--collection", collection.folder, "--moved", folder, tmp_path / "elsewhere")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"3 images moved from {folder} to {tmp_path / 'elsewhere'} (0 new, 0 changed, 0 gone")
    with Collection.open(collection.folder) as moved:
        assert {item.id: item.path.name for item in moved} == before
        assert {item.path.parent for item in moved} == {tmp_path / "elsewhere"}
        assert (moved.roots, list(contents(moved).values())) == ([tmp_path / "elsewhere"], vectors)
        assert set(moved.labels().values()) == {"yes"}
        assert moved.verify() == []


def test_patterns_move_along(folder: Path, tmp_path: Path) -> None:
    with Collection.create(tmp_path / "made", small_encoder(tmp_path / "small.onnx")) as collection:
        collection.update([folder], exclude=["1.png"], workers=0)
        folder.rename(tmp_path / "b")
        assert collection.move(folder, tmp_path / "b") == 2
        assert summary(collection.update(workers=0)) == (0, 0, 0, 2)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [("photos", "nowhere", "no such file"), ("other", "photos", "nothing of it"), ("photos", "second", "already")],
)
def test_moves_that_cannot_be(collection: Collection, tmp_path: Path, old: str, new: str, words: str) -> None:
    paint(tmp_path / "second" / "x.png", 8)
    collection.update([tmp_path / "second"], workers=0)
    with pytest.raises(UserError, match=words):
        collection.move(tmp_path / old, tmp_path / new)
    assert len(collection) == 4


# -- edits that keep size and time


def turn(file: Path, *, keep: os.stat_result) -> None:
    """Another picture of as many bytes, with the old modification time."""
    content = bytearray(file.read_bytes())
    with Image.open(file) as image:
        turned = image.transpose(Image.Transpose.ROTATE_180)
    turned.save(file, "BMP")
    assert len(content) == file.stat().st_size
    os.utime(file, ns=(keep.st_atime_ns, keep.st_mtime_ns))


@pytest.fixture
def bitmap(tmp_path: Path) -> tuple[Collection, Path]:
    file = paint(tmp_path / "bitmaps" / "a.bmp", 1)
    made = Collection.create(tmp_path / "made", small_encoder(tmp_path / "small.onnx"))
    made.update([file.parent], workers=0)
    return made, file


def test_an_edit_that_keeps_size_and_time_is_found(bitmap: tuple[Collection, Path]) -> None:
    collection, file = bitmap
    before = collection.vectors()[1]
    turn(file, keep=file.stat())
    assert len(collection.preview().changed) == 1
    assert summary(collection.update(workers=0)) == (0, 1, 0, 1)
    assert not np.allclose(collection.vectors()[1], before)
    assert summary(collection.update(workers=0)) == (0, 0, 0, 1)


def test_a_file_that_was_only_touched_is_not_embedded_again(bitmap: tuple[Collection, Path]) -> None:
    collection, file = bitmap
    generation = collection.generation
    file.chmod(0o600)
    assert summary(collection.update(workers=0)) == (0, 0, 0, 1)
    assert collection.generation == generation  # readers notice nothing


def test_reread_finds_what_no_time_tells(bitmap: tuple[Collection, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """As on file systems that note no change time."""
    collection, file = bitmap
    turn(file, keep=file.stat())
    listed = list_images([file.parent])
    ctime = listed.images[0].ctime_ns
    with contextlib.closing(open_to_update(collection.folder)) as store:
        store.note_change_times(listed.images)
    assert ctime > 0
    assert summary(collection.update(workers=0)) == (0, 0, 0, 1)
    assert summary(collection.update(workers=0, reread=True)) == (0, 1, 0, 1)


def test_a_collection_of_an_older_version_learns_the_change_times(bitmap: tuple[Collection, Path]) -> None:
    collection, file = bitmap
    with contextlib.closing(open_to_update(collection.folder)) as store:
        store._db.execute("DROP TABLE change_times")
        store._db.commit()
    assert summary(collection.update(workers=0)) == (0, 0, 0, 1)
    turn(file, keep=file.stat())
    assert summary(collection.update(workers=0)) == (0, 1, 0, 1)


def test_copies_of_the_folder_are_known_by_their_content(collection: Collection, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "backup")
    update = collection.update([tmp_path / "backup"], workers=0)
    assert (update.added, update.reused) == (3, 3)
