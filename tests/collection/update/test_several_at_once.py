"""Several processes at once: readers, updates, creations; and worker processes."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest

import simsiam_retrieval.collection.creation as creation
from simsiam_retrieval import Collection, UserError
from tests.support.small_encoder import (
    contents,
    expected_vector,
    paint,
    small_encoder,
    summary,
)

pytestmark = pytest.mark.usefixtures("each_chunk_kept")  # for those that stop after so many chunks


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
