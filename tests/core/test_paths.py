"""Where collections live by default, and which one is found again."""

import json
import os
from pathlib import Path

import pytest

from simsiam_retrieval import UserError
from simsiam_retrieval.core.known_collections import find_collection, remember
from simsiam_retrieval.core.paths import HOME_VARIABLE, default_cache, default_collection, home


def test_the_variable_moves_the_home(home_dir, monkeypatch):
    assert home() == home_dir
    assert default_collection() == home_dir / "collections" / "default"
    assert default_cache() == home_dir / "cache"
    monkeypatch.setenv("HOME", "/somebody")
    monkeypatch.setenv(HOME_VARIABLE, "~/data")
    assert home() == Path("/somebody/data")


@pytest.mark.parametrize("value", [None, ""])
def test_without_the_variable_it_is_the_users_data_directory(monkeypatch, value):
    monkeypatch.delenv(HOME_VARIABLE)
    if value is not None:
        monkeypatch.setenv(HOME_VARIABLE, value)
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert home().name == "simsiam-retrieval"
    assert home().is_absolute()


def test_what_was_given_comes_first(tmp_path):
    assert find_collection(tmp_path / "given") == tmp_path / "given"


def test_the_last_one_is_found_again(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    remember(tmp_path / "a")
    remember(tmp_path / "b")
    assert find_collection(None) == tmp_path / "b"
    monkeypatch.chdir(tmp_path)
    remember(Path("a"))
    monkeypatch.chdir("/")
    assert find_collection(None) == tmp_path / "a"


def test_nothing_yet(home_dir):
    with pytest.raises(UserError, match=r"simsiam_retrieval\.index"):
        find_collection(None)
    assert list(home_dir.iterdir()) == []


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '"x"', "null", '{"collection": 3}', '{"collection": null}', "\xff"]
)
def test_a_damaged_memory_is_no_memory(home_dir, content):
    (home_dir / "last.json").write_text(content, encoding="latin-1")
    with pytest.raises(UserError, match="nothing is indexed"):
        find_collection(None)
    default_collection().mkdir(parents=True)
    assert find_collection(None) == default_collection()


def test_the_last_one_was_deleted(tmp_path):
    remember(tmp_path / "gone")
    with pytest.raises(UserError):
        find_collection(None)


def test_remembering_is_a_convenience(tmp_path, monkeypatch):
    """No home, no error: the collection itself is safe."""
    (tmp_path / "file").touch()
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "file" / "home"))
    remember(tmp_path)
    monkeypatch.setenv(HOME_VARIABLE, "/proc/home")
    remember(tmp_path)


@pytest.mark.parametrize("name", ["a b", "é", "100%", 'quo"te', "new\nline", os.fsdecode(b"not utf-8 \xff")])
def test_names_of_every_kind_are_remembered(tmp_path, home_dir, name):
    (tmp_path / name).mkdir()
    remember(tmp_path / name)
    assert find_collection(None) == tmp_path / name
    assert "collection" in json.loads((home_dir / "last.json").read_text(encoding="utf-8"))
