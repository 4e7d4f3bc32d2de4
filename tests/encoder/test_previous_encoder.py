"""The encoder that was shipped before, by name, and what collections made with it are told."""

import hashlib
from pathlib import Path

import pytest

from simsiam_retrieval import Collection
from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.core.known_collections import note_use
from simsiam_retrieval.core.paths import home
from simsiam_retrieval.encoder import previous_encoder
from simsiam_retrieval.encoder.find_encoder import find_encoder
from tests.support.small_encoder import paint, small_encoder


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small file in the place of the one that was shipped, and a home and a checkout that know nothing of it."""
    monkeypatch.setenv("SIMSIAM_RETRIEVAL_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    file = small_encoder(tmp_path / "old.onnx")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    monkeypatch.setattr(previous_encoder, "DIGEST", digest)
    monkeypatch.setattr(previous_encoder, "IDENTITY", digest[:16])
    monkeypatch.setattr(previous_encoder, "BLOB", "0" * 40)
    return file


def made(folder: Path, encoder: Path) -> Path:
    paint(folder / "images" / "a.png", 0)
    with Collection.create(folder / "made", encoder) as collection:
        collection.update([folder / "images"], workers=0)
    return folder / "made"


def test_it_is_found_in_a_collection_that_was_made_with_it(old, tmp_path):
    note_use(made(tmp_path, old))
    assert find_encoder("previous").read_bytes() == old.read_bytes()


def test_another_encoders_collection_does_not_count(old, tmp_path):
    other = tmp_path / "other.onnx"
    small_encoder(other, grey=100)
    note_use(made(tmp_path, other))
    with pytest.raises(UserError, match="is in no collection here and not in git"):
        find_encoder("previous")


def test_it_is_taken_out_of_the_history_once(old, monkeypatch):
    monkeypatch.setattr(previous_encoder, "_from_history", old.read_bytes)
    file = find_encoder("previous")
    assert file.read_bytes() == old.read_bytes()
    assert file.parent == home() / "encoders"
    monkeypatch.setattr(previous_encoder, "_from_history", lambda: None)
    assert find_encoder("previous") == file
    file.write_bytes(b"damaged")
    with pytest.raises(UserError, match="previous"):
        find_encoder("previous")


def test_a_path_of_that_name_comes_first(old, tmp_path):
    (tmp_path / "previous").mkdir()
    (tmp_path / "previous" / "encoder.onnx").write_bytes(b"mine")
    assert find_encoder("previous").read_bytes() == b"mine"


def test_index_and_status_say_what_to_do_with_its_collections(old, tmp_path, run):
    collection = made(tmp_path, old)
    done = run("index", tmp_path / "images", "--collection", collection)
    assert done.returncode == 0
    assert done.stderr.count("index the folders with a new --collection") == 1
    done = run("status", collection)
    assert "shipped before" in done.stdout
    assert done.stderr == ""


def test_others_are_told_nothing(run, collection_dir):
    assert "shipped before" not in run("status", collection_dir).stdout
