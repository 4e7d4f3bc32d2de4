"""Files that cannot be used: named with a reason, and tried again when they change."""

import os
from pathlib import Path

import numpy as np
import pytest

import simsiam_retrieval.collection.update.run_update as run_update
from tests.support.small_encoder import (
    names,
    paint,
    summary,
)

pytestmark = pytest.mark.usefixtures("each_chunk_kept")  # for those that stop after so many chunks


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
