"""``python -m simsiam_retrieval.status``: as a table and as JSON."""

import json
import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from simsiam_retrieval import Collection
from tests.support.commands import refused
from tests.support.small_encoder import Killed, paint, small_encoder, stop_after

pytestmark = pytest.mark.usefixtures("each_chunk_kept")  # for those that stop after so many chunks


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A collection of two roots, with broken files and patterns."""
    for number in range(3):
        paint(tmp_path / "one" / f"{number}.jpg", number)
    paint(tmp_path / "two" / "x.png", 9)
    (tmp_path / "one" / "text.jpg").write_text("no image")
    (tmp_path / "one" / os.fsdecode(b"\x1b\xff.jpg")).touch()
    with Collection.create(tmp_path / "made", small_encoder(tmp_path / "small.onnx")) as collection:
        collection.update([tmp_path / "one"], workers=0)
        collection.update([tmp_path / "two"], exclude=["*.jpg", "raw"], workers=0)
    return tmp_path / "made"


def test_json(run, made, tmp_path):
    done = run("status", "--collection", made, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    status = json.loads(done.stdout)
    with Collection.open(made) as collection:
        expected = [{"path": str(path), "reason": reason} for path, reason in collection.failures()]
        identity = collection.encoder_identity
    assert len(expected) == 2
    assert status.pop("unusable") == expected
    assert status.pop("bytes") == {path.name: path.stat().st_size for path in made.iterdir() if path.name[0] != "."}
    assert status == {
        "collection": str(made),
        "images": 4,
        "waiting": 0,
        "roots": [
            {"path": str(tmp_path / "one"), "images": 3, "present": True, "include": [], "exclude": []},
            {"path": str(tmp_path / "two"), "images": 1, "present": True, "include": [], "exclude": ["*.jpg", "raw"]},
        ],
        "encoder": identity,
        "encoder_source": None,
        "features": "stage4",
        "dim": 192,
        "generation": 2,
        "schema": 5,
        "index": "flat",
        "index_asked": "auto",
        "measured": None,
        "noise_level": None,
        "shards": None,
        "reading": {},
        "regions": None,
    }


def test_the_table(run, made, tmp_path):
    shutil.rmtree(tmp_path / "two")
    done = run("status", "--collection", made)
    assert (done.returncode, done.stderr) == (0, "")
    lines = {line[:11].strip() or line.strip(): line[12:] for line in done.stdout.splitlines()}
    assert (lines["images"], lines["unusable"], lines["folders"]) == ("4", "2", f"{tmp_path}/one (3 images)")
    assert f"{tmp_path}/two (1 images, --exclude *.jpg, --exclude raw, missing now)" in done.stdout
    assert "1 x not an image" in done.stdout and "1 x an empty file" in done.stdout
    assert lines["index"] == "flat (asked: auto), generation 2"
    assert "\x1b" not in done.stdout


def test_an_interrupted_update(run, made, tmp_path):
    paint(tmp_path / "one" / "new.jpg", 50)
    with Collection.open(made) as collection, pytest.raises(Killed):
        collection.update([tmp_path / "one"], workers=0, on_progress=stop_after(1, Killed))
    done = run("status", "--collection", made)
    assert "1 files of an update that was interrupted" in done.stdout
    assert json.loads(run("status", "--collection", made, "--json").stdout)["waiting"] == 1


@pytest.mark.parametrize("damage", ["gone", "garbage", "other ids"])
def test_an_index_file_that_cannot_be_used(run, made, damage):
    [file] = made.glob("index-*.faiss")
    if damage == "gone":
        file.unlink()
    elif damage == "garbage":
        file.write_bytes(b"garbage")
    else:
        with sqlite3.connect(made / "catalog.sqlite") as database:
            database.execute("DELETE FROM items WHERE id = (SELECT min(item) FROM vectors)")
        database.close()
        refused(run("status", "--collection", made), "does not fit its checksum", "--verify")
        with sqlite3.connect(made / "catalog.sqlite") as database:  # of an older version, which has no such checksum
            database.execute("DELETE FROM meta WHERE key IN ('facts seal', 'keys')")
        database.close()
    before = {path: path.read_bytes() for path in made.iterdir()}
    kind = json.loads(run("status", "--collection", made, "--json").stdout)["index"]
    assert kind.startswith("does not match" if damage == "other ids" else "no file")
    assert {path: path.read_bytes() for path in made.iterdir()} == before  # reading changes nothing


def test_an_encoder_that_is_gone(run, made):
    (made / "encoder.onnx").unlink()
    done = run("status", "--collection", made)
    assert done.returncode == 0
    assert "encoder.onnx missing" in done.stdout
    assert json.loads(run("status", "--collection", made, "--json").stdout)["bytes"]["encoder.onnx"] is None


def test_no_collection(run, tmp_path):
    refused(run("status"), "nothing is indexed yet")
    refused(run("status", "--collection", tmp_path), "not a collection")


def test_an_empty_collection(run, tmp_path):
    Collection.create(tmp_path / "made", small_encoder(tmp_path / "small.onnx")).close()
    done = run("status", "--collection", tmp_path / "made")
    assert (done.returncode, done.stderr) == (0, "")
    assert "images      0\n" in done.stdout
