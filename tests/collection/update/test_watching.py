"""``index --watch``: a real process and real files."""

import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from simsiam_retrieval import Collection
from simsiam_retrieval.collection.update import watching
from simsiam_retrieval.collection.update.watching import changes
from simsiam_retrieval.images import mounts
from tests.support.commands import refused
from tests.support.small_encoder import names, paint, small_encoder

SECONDS = 60  # for what takes one or two on an idle machine


class Watcher:
    """A running ``index --watch``, and what it says."""

    def __init__(self, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "simsiam_retrieval.index", "--watch", "--workers", "0", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.out, self.err = queue.Queue[str](), queue.Queue[str]()
        for stream, lines in ((self.process.stdout, self.out), (self.process.stderr, self.err)):
            threading.Thread(target=self._read, args=(stream, lines), daemon=True).start()

    @staticmethod
    def _read(stream, lines: queue.Queue[str]) -> None:
        for line in stream:
            lines.put(line.rstrip("\n"))

    def says(self, *words: str) -> str:
        """The next line on stdout; it has these words in it."""
        line = self.out.get(timeout=SECONDS)
        assert all(word in line for word in words), line
        return line

    def remarks(self, *words: str) -> str:
        """The next line on stderr that has these words in it."""
        while True:
            line = self.err.get(timeout=SECONDS)
            if all(word in line for word in words):
                return line

    def end(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(SECONDS)


@pytest.fixture
def watcher(folder: Path, tmp_path: Path) -> Iterator[Watcher]:
    """Watches ``folder`` for the collection ``made`` in it."""
    made = folder / "made"  # its own files, which change with every update, must not set off another
    started = Watcher(folder, "--encoder", small_encoder(tmp_path / "small.onnx"), "--collection", made)
    try:
        started.says("5 images in", "5 new")
        started.remarks("watching", "Ctrl-C")
        yield started
    finally:
        started.process.kill()
        started.process.wait()


def test_changes_are_followed(watcher, folder, tmp_path):
    with Collection.open(folder / "made") as collection:
        time.sleep(2.5)  # watching has begun: from now on only the system's word counts
        began = collection.generation
        paint(folder / "new.jpg", 50)
        watcher.says("6 images (1 new, 0 changed, 0 gone")
        (folder / "new.jpg").rename(folder / "sub" / "newer.jpg")
        watcher.says("6 images (0 new, 0 changed, 0 gone, 1 moved")
        (folder / "notes.txt").touch()
        paint(tmp_path / "2020.05.01" / "deep" / "x.jpg", 51)
        (tmp_path / "2020.05.01").rename(folder / "2020.05.01")
        watcher.says("7 images (1 new")
        paint(folder / "2020.05.01" / "deep" / "y.jpg", 52)
        watcher.says("8 images (1 new")
        shutil.rmtree(folder / "2020.05.01")
        watcher.says("6 images (0 new, 0 changed, 2 gone")
        paint(folder / "a.jpg", 53)
        watcher.says("6 images (0 new, 1 changed, 0 gone")
        (folder / os.fsdecode(b"not utf-8 \xff.jpg")).write_bytes((folder / "b.jpg").read_bytes())
        watcher.says("7 images (1 new")
        paint(folder / "after that.jpg", 54)
        watcher.says("8 images (1 new")
        assert collection.generation == began + 8
    assert watcher.end() == 0
    assert watcher.out.empty()
    with Collection.open(folder / "made") as collection:
        assert len(collection) == 8
        assert collection.verify() == []


def test_a_file_that_is_written_slowly(watcher, folder):
    whole = paint(folder.parent / "slow.jpg", 50).read_bytes()
    with (folder / "slow.jpg").open("wb") as file:
        file.write(whole[: len(whole) // 2])
        file.flush()
        watcher.says("5 images", "1 unusable")
        watcher.remarks("left out", "slow.jpg", "damaged")
        file.write(whole[len(whole) // 2 :])
    watcher.says("6 images")
    assert watcher.end(signal.SIGTERM) == 0
    with Collection.open(folder / "made") as collection:
        assert collection.failures() == []
        assert "slow.jpg" in names(collection)


def test_a_folder_that_disappears_and_comes_back(folder, tmp_path):
    made, away = tmp_path / "made", tmp_path / "away"
    paint(tmp_path / "second" / "x.jpg", 60)
    encoder = small_encoder(tmp_path / "small.onnx")
    watcher = Watcher(folder, tmp_path / "second", "--encoder", encoder, "--collection", made)
    try:
        watcher.says("6 images in")
        folder.rename(away)
        watcher.remarks(str(folder), "5 images are kept")
        paint(tmp_path / "second" / "y.jpg", 61)
        watcher.says("7 images (1 new, 0 changed, 0 gone")
        paint(away / "z.jpg", 62)
        away.rename(folder)
        watcher.says("8 images (1 new, 0 changed, 0 gone")
        paint(folder / "later.jpg", 63)
        watcher.says("9 images (1 new")
        assert watcher.end() == 0
    finally:
        watcher.process.kill()
        watcher.process.wait()


def test_it_waits_for_other_updates(watcher, folder):
    from simsiam_retrieval.collection.storage.writer_lock import writing

    with writing(folder / "made", on_wait=print):
        paint(folder / "new.jpg", 50)
        watcher.remarks("another update", f"process {os.getpid()}")
        assert watcher.out.empty()
    watcher.says("6 images (1 new")
    assert watcher.end() == 0


def test_polling(folder, tmp_path):
    encoder = small_encoder(tmp_path / "small.onnx")
    watcher = Watcher(folder, "--poll", 0.2, "--encoder", encoder, "--collection", tmp_path / "made")
    try:
        watcher.says("5 images in")
        for number in range(2):
            paint(folder / f"new {number}.jpg", 50 + number)
            watcher.says(f"{6 + number} images (1 new")
        assert watcher.end() == 0
    finally:
        watcher.process.kill()
        watcher.process.wait()


def test_where_the_system_reports_no_changes(folder):
    """As many watches as there may be: it looks by itself, and says so."""
    if shutil.which("unshare") is None or not Path("/proc/sys/user/max_inotify_watches").exists():
        pytest.skip("no limit to set")
    script = f"""
import sys
from pathlib import Path
from simsiam_retrieval.collection.update import watching
watching.POLL_SECONDS = 0.2
for number, _ in enumerate(watching.changes([Path({str(folder)!r})], Path("/none"), on_remark=print)):
    print("change", number, flush=True)
"""
    limited = ["unshare", "-Ur", "sh", "-c", 'echo 0 > /proc/sys/user/max_inotify_watches && exec "$@"', "sh"]
    if subprocess.run([*limited, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no right to set a limit")
    with subprocess.Popen([*limited, sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        timer = threading.Timer(SECONDS, process.kill)
        timer.start()
        assert "looking every" in process.stdout.readline()
        assert process.stdout.readline() == "change 0\n"
        paint(folder / "new.jpg", 50)
        assert process.stdout.readline() == "change 1\n"
        process.kill()
        timer.cancel()


def test_what_matters(folder):
    """Only what may be an image of the collection, or a folder that came or went, is worth an update."""
    made = folder / "made.jpg"
    for path in (made / "sub", folder / ".hidden"):
        path.mkdir(parents=True)
    for path in ("notes.txt", ".hidden.jpg", ".hidden/x.jpg", "made.jpg/x.jpg", "no picture.JPG"):
        (folder / path).touch()

    def matters(name: str) -> bool:
        return watching._matters(str(folder / name), [folder], made)

    assert [matters(name) for name in ("notes.txt", ".hidden.jpg", ".hidden/x.jpg")] == [False] * 3
    assert [matters(name) for name in ("made.jpg", "made.jpg/x.jpg", "made.jpg/gone", "../x.jpg")] == [False] * 4
    assert [matters(name) for name in ("no picture.JPG", "sub", "gone", "gone.d", "gone.jpg", "")] == [True] * 6


def test_a_folder_that_may_not_be_read_is_passed_over(open_folder, unprivileged):
    root = open_folder / "pictures"
    (root / "secret").mkdir(parents=True)
    root.chmod(0o777)
    (root / "secret").chmod(0o000)
    with unprivileged():
        seen = changes([root], Path("/none"))
        next(seen)
        paint(root / "new.jpg", 50)
        next(seen)
    (root / "secret").chmod(0o755)


def test_options_that_do_not_go_together(run, folder, tmp_path):
    for options in (["--poll", 5], ["--watch", "--poll", 0], ["--watch", "--poll", "nan"]):
        refused(run("index", folder, *options), "--poll")
    for option in ("--dry-run", "--prune", "--verify", "--rebuild-index"):
        refused(run("index", folder, "--watch", option), "--watch")
    refused(run("index", "--watch", "--remove", folder), "--watch")
    refused(run("index", tmp_path / "none", "--watch"), "no such")


def test_a_network_share_is_pointed_out(folder, tmp_path, monkeypatch):
    table = tmp_path / "mountinfo"
    table.write_text(f"40 21 0:50 / {folder} rw - nfs4 host:/photos rw\n")
    monkeypatch.setattr(mounts, "MOUNT_TABLE", table)
    with Collection.create(tmp_path / "made", small_encoder(tmp_path / "small.onnx")) as collection:
        said: list[str] = []
        next(watching.watch_roots(collection, [folder], workers=0, on_remark=said.append))
        assert len(said) == 1 and "nfs4" in said[0] and "--poll" in said[0]
        next(watching.watch_roots(collection, [folder], workers=0, poll=60, on_remark=said.append))
        assert len(said) == 1


def test_an_update_that_fails_ends_it_with_one_line(watcher, folder):
    shutil.rmtree(folder / "made")
    paint(folder / "new.jpg", 50)
    assert watcher.process.wait(SECONDS) == 2
    assert watcher.remarks("error: ", str(folder / "made"))
