"""Bringing a collection up to date: what is new, changed, gone, and which roots count."""

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import simsiam_retrieval.collection.update.run_update as run_update
from simsiam_retrieval import UserError
from simsiam_retrieval.collection.storage.opening import open_to_update
from simsiam_retrieval.images.files import list_images
from tests.support.small_encoder import (
    contents,
    expected_vector,
    names,
    paint,
    summary,
    unit_vector,
)

pytestmark = pytest.mark.usefixtures("each_chunk_kept")  # for those that stop after so many chunks


def test_the_first_update(empty, folder):
    (folder / "notes.txt").write_text("no image")
    update = empty.update([folder], workers=0)
    assert summary(update) == (5, 0, 0, 5)
    assert (update.finished, update.failed, update.other_files) == (True, [], 1)
    for path, vector in contents(empty).items():
        assert unit_vector(vector) == pytest.approx(expected_vector(path), abs=1e-5)


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
