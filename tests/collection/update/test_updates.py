"""Options of an update: patterns, moves found by content, roots that vanish, removing, previews, two at once."""

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import simsiam_retrieval.collection.update.run_update as run_update
from simsiam_retrieval import Collection, UserError
from simsiam_retrieval.images.files import list_images
from tests.support.commands import refused
from tests.support.small_encoder import (
    Killed,
    contents,
    expected_vector,
    names,
    paint,
    set_meta,
    small_encoder,
    stop_after,
    summary,
    unit_vector,
)

pytestmark = pytest.mark.usefixtures("each_chunk_kept")  # for those that stop after so many chunks


@pytest.fixture
def collection(folder: Path, tmp_path: Path) -> Collection:
    made = Collection.create(tmp_path / "made", small_encoder(tmp_path / "small.onnx"))
    made.update([folder], workers=0)
    return made


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were embedded, as they were."""
    seen: list[str] = []
    embed_files = run_update.embed_files

    def counting(files, *args, **kwargs):
        seen.extend(file.path.name for file in files)
        return embed_files(files, *args, **kwargs)

    monkeypatch.setattr(run_update, "embed_files", counting)
    return seen


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file of a folder: its time and its bytes."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def vectors_are_right(collection: Collection) -> bool:
    return all(
        np.allclose(unit_vector(vector), expected_vector(path), atol=1e-5)
        for path, vector in contents(collection).items()
    )


# -- known content is not embedded again


def test_a_renamed_and_a_moved_file_are_not_embedded_again(collection, folder, embedded):
    before = contents(collection)
    thumbnail = collection.thumbnail(next(item.id for item in collection if item.path.name == "a.jpg"))
    (folder / "a.jpg").rename(folder / "z.jpg")
    (folder / "new").mkdir()
    (folder / "b.jpg").rename(folder / "new/b.jpg")
    seen: list[int] = []
    update = collection.update([folder], workers=0, on_start=seen.append, on_progress=seen.append)
    assert (summary(update), update.moved, update.reused) == ((2, 0, 2, 5), 2, 2)
    assert embedded == []
    assert seen == [2, 2]
    after = contents(collection)
    assert after.pop(folder / "z.jpg") == before[folder / "a.jpg"]
    assert after.pop(folder / "new/b.jpg") == before[folder / "b.jpg"]
    moved = collection.search(folder / "z.jpg", k=1)[0].item
    assert (moved.path, moved.width, moved.height, moved.format) == (folder / "z.jpg", 40, 30, "JPEG")
    assert collection.thumbnail(moved.id) == thumbnail
    assert (moved.size, moved.mtime_ns) == (moved.path.stat().st_size, moved.path.stat().st_mtime_ns)
    assert summary(collection.update([folder])) == (0, 0, 0, 5)


def test_a_moved_folder(collection, folder, embedded):
    folder.rename(folder.with_name("elsewhere"))
    update = collection.update([folder.with_name("elsewhere")], workers=0)
    assert (summary(update), update.reused, embedded) == ((5, 0, 0, 10), 5, [])
    update = collection.update([folder], prune=True)
    assert (summary(update), len(collection)) == ((0, 0, 5, 5), 5)
    assert vectors_are_right(collection)


def test_copies_and_touched_files_are_not_embedded_again(collection, folder, embedded):
    shutil.copy(folder / "a.jpg", folder / "copy.jpg")
    os.utime(folder / "b.jpg", (1, 1))
    update = collection.update([folder], workers=0)
    assert (summary(update), update.moved, update.reused, embedded) == ((1, 1, 0, 6), 0, 2, [])
    assert vectors_are_right(collection)


def test_another_picture_of_the_same_size_is_embedded(collection, folder, embedded):
    """Equal lengths alone prove nothing."""
    content = bytearray((folder / "a.jpg").read_bytes())
    content[-20] ^= 1
    (folder / "like a.jpg").write_bytes(content)
    assert summary(collection.update([folder], workers=0)) == (1, 0, 0, 6)
    assert embedded == ["like a.jpg"]


def test_names_that_are_swapped(collection, folder, embedded):
    (folder / "a.jpg").rename(folder / "x")
    (folder / "b.jpg").rename(folder / "a.jpg")
    (folder / "x").rename(folder / "b.jpg")
    os.utime(folder / "a.jpg", (1, 1))
    os.utime(folder / "b.jpg", (2, 2))
    assert summary(collection.update([folder], workers=0)) == (0, 2, 0, 5)
    assert embedded == []
    assert vectors_are_right(collection)


def test_a_move_after_a_killed_update(collection, folder, embedded):
    paint(folder / "new.jpg", 50)
    with pytest.raises(Killed):
        collection.update([folder], workers=0, on_progress=stop_after(1, Killed))
    (folder / "new.jpg").rename(folder / "newer.jpg")
    os.utime(folder / "newer.jpg", (5, 5))
    with pytest.raises(Killed):
        collection.update([folder], workers=0, on_progress=stop_after(1, Killed))
    os.utime(folder / "newer.jpg", (6, 6))  # known from a row that nobody published, under its own name
    assert collection.update([folder], workers=0).images == 6
    assert embedded.count("new.jpg") == 1
    assert names(collection) == ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "newer.jpg", "e.jpg"]
    assert vectors_are_right(collection)


# -- patterns


def test_patterns_are_kept_for_later_updates(collection, folder):
    paint(folder / "f.png", 60)
    update = collection.update([folder], exclude=["sub", "*.png"], workers=0)
    assert (summary(update), update.left_out) == ((0, 0, 1, 4), 2)
    paint(folder / "sub/g.jpg", 61)
    for roots in ([folder], [folder / "sub"], None):
        assert collection.update(roots, workers=0).images == 4
    assert summary(collection.update([folder], include=["*.png"], workers=0)) == (1, 0, 4, 1)
    assert summary(collection.update([folder], include=["*"], workers=0)) == (6, 0, 0, 7)


def test_roots_have_their_own_patterns(collection, folder, tmp_path):
    paint(tmp_path / "second/x.png", 60)
    paint(tmp_path / "second/y.jpg", 61)
    collection.update([tmp_path / "second"], include=["*.png"], workers=0)
    assert names(collection) == ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg", "x.png"]
    assert summary(collection.update(workers=0)) == (0, 0, 0, 6)


def test_a_root_whose_images_are_all_left_out_is_not_held(collection, folder):
    with pytest.raises(UserError, match="leave none of 5"):
        collection.update([folder], include=["*.png"], workers=0)
    update = collection.update([folder], include=["*.png"], prune=True, workers=0)
    assert (summary(update), update.held, update.left_out) == ((0, 0, 5, 0), [], 5)


def test_an_excluded_folder_that_cannot_be_read_is_no_failure(collection, folder, monkeypatch):
    listed = os.scandir

    def scandir(path):
        if Path(os.fsdecode(path)).name == "sub":
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert [path.name for path, _ in collection.update([folder]).failed] == ["sub"]
    assert collection.update([folder], exclude=["sub"]).failed == []
    monkeypatch.undo()  # or the test's own folder could not be removed


def test_patterns_that_were_damaged(collection, folder):
    set_meta(collection.folder, "patterns", "[1")
    with pytest.raises(UserError, match="damaged"):
        collection.update([folder])


# -- roots that vanish


@pytest.mark.parametrize("leaving", ["nothing", "a note", "an empty folder"])
def test_an_emptied_root_keeps_its_items_unless_pruned(collection, folder, leaving):
    """As the mount point of a drive that is not there."""
    shutil.rmtree(folder)
    folder.mkdir()
    if leaving == "a note":
        (folder / "README.txt").touch()
    if leaving == "an empty folder":
        (folder / "lost+found").mkdir()
    for roots in ([folder], None):
        update = collection.update(roots)
        assert (summary(update), update.held) == ((0, 0, 0, 5), [(folder, 5)])
    update = collection.update([folder], prune=True)
    assert (summary(update), update.held) == ((0, 0, 5, 0), [])
    assert collection.roots == [folder]


def test_a_missing_root(collection, folder, tmp_path):
    paint(tmp_path / "second/x.jpg", 60)
    collection.update([tmp_path / "second"], workers=0)
    shutil.rmtree(folder)
    with pytest.raises(UserError, match="5 images are kept"):
        collection.update([folder])
    paint(tmp_path / "second/y.jpg", 61)
    update = collection.update(workers=0)  # all roots: the others need not wait for the drive
    assert (summary(update), update.held) == ((1, 0, 0, 7), [(folder, 5)])
    assert summary(collection.update([folder], prune=True)) == (0, 0, 5, 2)
    assert collection.roots == [tmp_path / "second"]
    with pytest.raises(UserError, match="no such file"):
        collection.update([folder], prune=True)


def test_an_emptied_subfolder_of_a_root_is_no_vanished_root(collection, folder):
    shutil.rmtree(folder / "sub")
    assert summary(collection.update([folder])) == (0, 0, 1, 4)


def test_a_drive_that_goes_away_in_an_update(collection, folder):
    """Files that could not be read because of that are no broken files once it is back."""
    paint(folder / "f.jpg", 60)
    listing = list_images([folder])
    folder.rename(folder.with_name("away"))
    update = collection.update_listed([folder], listing, workers=0)
    assert ([path.name for path, _ in update.failed], update.images) == (["f.jpg"], 5)
    folder.with_name("away").rename(folder)
    update = collection.update(workers=0)
    assert (update.failed, update.images) == ([], 6)


# -- removing


def test_remove(collection, folder):
    before = state(folder)
    assert summary(collection.remove([folder / "sub", folder / "a.jpg"])) == (0, 0, 2, 3)
    assert names(collection) == ["b.jpg", "c.jpg", "d.jpg"]
    assert collection.roots == [folder]
    assert len(collection.search(np.ones(192))) == 3
    assert state(folder) == before
    assert summary(collection.remove([folder])) == (0, 0, 3, 0)
    assert collection.roots == []
    with pytest.raises(UserError, match="nothing of it"):
        collection.remove([folder])


def test_remove_takes_all_or_nothing(collection, folder):
    with pytest.raises(UserError, match="missing"):
        collection.remove([folder / "a.jpg", folder / "missing"])
    assert len(collection) == 5


# -- previews


def test_a_preview_says_what_an_update_then_does(collection, folder):
    paint(folder / "new.jpg", 60)
    paint(folder / "b.jpg", 61)
    (folder / "c.jpg").rename(folder / "sub/c.jpg")
    (folder / "d.jpg").unlink()
    before, files = state(collection.folder), state(folder)
    preview = collection.preview([folder], exclude=["e.jpg"])
    assert preview.new == [folder / "new.jpg"]
    assert preview.changed == [folder / "b.jpg"]
    assert preview.moved == [(folder / "c.jpg", folder / "sub/c.jpg")]
    assert preview.gone == [folder / "d.jpg", folder / "sub/e.jpg"]
    assert preview.left_out == 1
    assert (state(collection.folder), state(folder)) == (before, files)
    update = collection.update([folder], exclude=["e.jpg"], workers=0)
    assert (update.added - update.moved, update.changed, update.moved, update.removed - update.moved) == (1, 1, 1, 2)
    after = collection.preview()
    assert after.new == after.changed == after.moved == after.gone == []


# -- two at once

HOLD = """
    import sys
    from simsiam_retrieval import Collection

    def hold(total):
        print("holding", flush=True)
        sys.stdin.readline()

    if __name__ == "__main__":
        Collection.open(sys.argv[1]).update([sys.argv[2]], workers=0, on_start=hold)
"""


def test_the_second_update_says_who_holds_the_collection_or_waits(run_command, collection, folder):
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLD), collection.folder, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    with process:
        assert process.stdout.readline() == "holding\n"
        refused(run_command("index", folder, "--collection", collection.folder), f"process {process.pid} on", "--wait")
        said: list[str] = []

        def on_wait(text: str) -> None:
            said.append(text)
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()

        paint(folder / "new.jpg", 60)
        assert summary(collection.update([folder], workers=0, on_wait=on_wait)) == (1, 0, 0, 6)
    assert len(said) == 1
    assert f"process {process.pid} on" in said[0]
    assert not (collection.folder / ".holder").exists()


# -- the command


def test_the_command_remembers_patterns(run, folder, tmp_path):
    encoder, target = small_encoder(tmp_path / "small.onnx"), tmp_path / "c"
    (folder / "x.png").touch()
    options = ["--collection", target, "--exclude", "sub", "--exclude", "*.png"]
    done = run("index", folder, "--encoder", encoder, *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"4 images in {target} (4 new, 0 changed, 0 gone, 2 left out by patterns)\n"
    (folder / "a.jpg").rename(folder / "z.jpg")
    done = run("index", "--collection", target)
    assert done.stdout == f"4 images in {target} (0 new, 0 changed, 0 gone, 1 moved, 2 left out by patterns)\n"


def test_a_dry_run_touches_nothing(run, collection, folder, tmp_path, home_dir):
    paint(folder / "new.jpg", 60)
    (folder / "a.jpg").rename(folder / "two\nlines.jpg")
    (folder / "b.jpg").unlink()
    before = state(tmp_path)
    done = run("index", folder, "--dry-run", "--collection", collection.folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"new      {folder}/new.jpg",
        f"gone     {folder}/b.jpg",
        f"moved    {folder}/a.jpg -> {folder}/two�lines.jpg",
        f"nothing was done; an update of {collection.folder} would find 1 new, 0 changed, 1 gone, 1 moved",
    ]
    done = run("index", folder, "--dry-run", "--collection", tmp_path / "none yet")
    assert done.stdout.splitlines()[-1].endswith("would find 5 new, 0 changed, 0 gone, 0 moved")
    assert state(tmp_path) == before
    assert not (tmp_path / "none yet").exists()
    assert list(home_dir.iterdir()) == []


def test_the_command_prunes_only_when_told(run, collection, folder):
    shutil.rmtree(folder)
    refused(run("index", folder, "--collection", collection.folder), "--prune", "5 images are kept")
    folder.mkdir()
    done = run("index", folder, "--collection", collection.folder)
    assert done.returncode == 0
    assert "5 images are kept" in done.stderr and "--prune" in done.stderr
    assert done.stdout.startswith("5 images in ")
    done = run("index", folder, "--prune", "--collection", collection.folder)
    assert done.stdout.startswith("0 images in ") and "5 gone" in done.stdout


def test_the_command_removes(run, collection, folder):
    done = run("index", "--remove", folder / "sub", "--remove", folder / "a.jpg", "--collection", collection.folder)
    assert (done.returncode, done.stdout) == (0, f"3 images in {collection.folder} (2 removed)\n")
    assert done.stderr.startswith("still below ")
    refused(run("index", "--remove", folder / "sub", "--collection", collection.folder), "nothing of it")
    refused(run("index", "--remove", "", "--collection", collection.folder), "name a path")
    refused(run("index", folder, "--remove", folder, "--collection", collection.folder), "second run")
    assert (folder / "sub/e.jpg").is_file()


@pytest.mark.parametrize("options", [["--include", "/abs"], ["--exclude", ""], ["--include", "*.nothing"]])
def test_patterns_that_cannot_be(run, folder, tmp_path, options):
    encoder = small_encoder(tmp_path / "small.onnx")
    target = tmp_path / "c"
    for dry in ([], ["--dry-run"]):
        refused(run("index", folder, "--encoder", encoder, "--collection", target, *options, *dry), "clude")
    assert not target.exists()


def test_a_collection_of_the_version_before_opens(collection, folder):
    """Without patterns in its catalog."""
    database = sqlite3.connect(collection.folder / "catalog.sqlite")
    assert "patterns" not in dict(database.execute("SELECT key, value FROM meta"))
    database.close()
    paint(folder / "x.png", 60)
    assert summary(collection.update([folder], exclude=["*.png"], workers=0)) == (0, 0, 0, 5)
    database = sqlite3.connect(collection.folder / "catalog.sqlite")
    [[stored]] = database.execute("SELECT value FROM meta WHERE key = 'patterns'")
    database.close()
    assert json.loads(stored) == {str(folder): [[], ["*.png"]]}


# -- killed, or out of space, at any moment

UPDATE = """
    import sys
    from simsiam_retrieval import Collection
    from simsiam_retrieval.collection.update import catalog_entries as embedding

    if __name__ == "__main__":
        embedding.BATCH_SECONDS = 0.0
        collection = Collection.open(sys.argv[1])
        collection.encoder
        print("ready", flush=True)
        sys.stdin.readline()
        collection.update(workers=0)
        print("done", flush=True)
"""


@pytest.fixture
def disturbed(collection, folder, tmp_path) -> Path:
    """The folder of a collection whose pictures have changed in every way since."""
    for number in range(60):
        paint(folder / f"new {number}.jpg", 100 + number)
    for number in range(5):
        (folder / f"broken {number}.jpg").write_text("no picture")
    paint(folder / "a.jpg", 300)
    (folder / "b.jpg").rename(folder / "sub/moved.jpg")
    (folder / "c.jpg").unlink()
    collection.close()
    return collection.folder


def start(collection: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(UPDATE), collection],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def everything(folder: Path) -> tuple:
    """All that a collection says, without ids and generation."""
    with Collection.open(folder) as collection:
        hits = [(hit.path, hit.score) for hit in collection.search(np.ones(192), k=100)]
        assert collection.verify() == []
        return contents(collection), collection.failures(), collection.roots, hits


def test_sigkill_at_twenty_random_moments(disturbed, tmp_path):
    """Readers see the old state or the new one; the next update ends where an undisturbed one does."""
    shutil.copytree(disturbed, tmp_path / "undisturbed")
    old = everything(disturbed)
    process = start(tmp_path / "undisturbed")
    assert process.stdout is not None
    with process:
        began = time.perf_counter()
        go(process)
        assert process.stdout.readline() == "done\n"
        whole = time.perf_counter() - began
    new = everything(tmp_path / "undisturbed")
    assert len(new[0]) == 64 and len(new[1]) == 5
    draw = random.Random(0)
    interrupted = 0
    for number in range(20):
        killed = tmp_path / f"killed {number}"
        shutil.copytree(disturbed, killed)
        with start(killed) as process:
            killer = threading.Timer(draw.uniform(0, whole), process.kill)
            began = time.perf_counter()
            go(process)
            killer.start()
            assert process.stdout is not None
            if process.stdout.read() == "done\n":
                whole = min(whole, time.perf_counter() - began)  # the machine was busier when it was measured
            else:
                interrupted += 1
            killer.join()
        with Collection.open(killed) as collection:
            assert contents(collection) in (old[0], new[0])
            collection.update(workers=0)
        assert everything(killed) == new
        assert not [path for path in killed.iterdir() if path.suffix == ".tmp"]
        shutil.rmtree(killed)
    assert interrupted >= 5  # else the moments were not in the middle


@pytest.mark.parametrize("room", [0, 10_000, 30_000, 60_000, 250_000])
def test_no_room_for_a_larger_file(disturbed, tmp_path, room):
    """A quota, or a full disk, at several points of an update: one line, the old state stays, room mends it."""
    shutil.copytree(disturbed, tmp_path / "undisturbed")
    with Collection.open(tmp_path / "undisturbed") as collection:
        collection.update(workers=0)
    new = everything(tmp_path / "undisturbed")
    old = everything(disturbed)
    limit = (disturbed / "catalog.sqlite").stat().st_size + room
    script = f"""
        import resource, runpy, signal, sys
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
        sys.argv = ["index", "--collection", {str(disturbed)!r}, "--workers", "0"]
        runpy.run_module("simsiam_retrieval.index", run_name="__main__")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        refused(done)
        assert everything(disturbed)[0] == old[0]
    else:
        assert room == 250_000
    with Collection.open(disturbed) as collection:
        collection.update(workers=0)
    assert everything(disturbed) == new
