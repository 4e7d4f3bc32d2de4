"""Updates that end early, by Ctrl-C, an error or a kill: what is done is kept."""

import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import simsiam_retrieval.collection.update.run_update as run_update
from simsiam_retrieval import Collection
from simsiam_retrieval.collection.storage.sqlite_store import SqliteStore
from simsiam_retrieval.collection.update import catalog_entries
from tests.support.small_encoder import (
    CHUNK,
    Killed,
    contents,
    names,
    paint,
    small_encoder,
    stop_after,
    summary,
)

pytestmark = pytest.mark.usefixtures("each_chunk_kept")  # for those that stop after so many chunks


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
