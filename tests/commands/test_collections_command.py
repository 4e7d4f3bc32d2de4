"""Collections as things with names: listed, chosen, renamed, removed; what commands say of a lost or another one."""

import json
import shutil
from pathlib import Path

import pytest

from simsiam_retrieval import Collection
from simsiam_retrieval.core.known_collections import FILE, find_collection, known_collections, path_of, remember
from tests.support.commands import refused
from tests.support.small_encoder import paint, small_encoder


@pytest.fixture
def two(tmp_path: Path, home_dir: Path) -> tuple[Path, Path]:
    """Collections of one and of two pictures; the second was used last."""
    made = []
    for number in (1, 2):
        for seed in range(number):
            paint(tmp_path / f"photos {number}" / f"{seed}.png", seed)
        with Collection.create(tmp_path / f"c{number}", small_encoder(tmp_path / "small.onnx")) as collection:
            collection.update([tmp_path / f"photos {number}"], workers=0)
            made.append(collection.folder)
        remember(made[-1])
    return made[0], made[1]


def test_the_list(run, two: tuple[Path, Path], tmp_path: Path) -> None:
    done = run("collections")
    first, second, note = done.stdout.splitlines()
    assert first.startswith("* c2") and " 2 images" in first and str(two[1]) in first
    assert second.startswith("  c1") and " 1 images" in second and f"<- {tmp_path / 'photos 1'}" in second
    assert note.startswith("* ")
    found = json.loads(run("collections", "list", "--json").stdout)
    assert [(one["name"], one["images"], one["last"]) for one in found] == [("c2", 2, True), ("c1", 1, False)]
    with Collection.open(two[0]) as collection:
        assert found[1]["encoder"] == collection.encoder_identity
        assert found[1]["folders"] == [str(root) for root in collection.roots]
    assert found[1]["bytes"] == sum(file.stat().st_size for file in two[0].iterdir())


def test_no_collection_yet(run) -> None:
    assert run("collections").stdout.startswith("no collection yet")


def test_names_as_well_as_paths(run, two: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for given in ("c1", two[0]):
        assert json.loads(run("status", given, "--json").stdout)["collection"] == str(two[0])
        assert json.loads(run("status", "--collection", given, "--json").stdout)["collection"] == str(two[0])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert path_of("c1") == two[0]
    assert path_of("new") == tmp_path / "elsewhere" / "new"  # no name that is known: a path
    (tmp_path / "elsewhere" / "c1").mkdir()
    assert path_of("c1") == tmp_path / "elsewhere" / "c1"  # what is there comes first


def test_using_another_one(run, two: tuple[Path, Path]) -> None:
    done = run("collections", "use", "c1")
    assert str(two[0]) in done.stdout
    assert find_collection(None) == two[0]
    assert [known.name for known in known_collections()] == ["c1", "c2"]


def test_renaming(run, two: tuple[Path, Path]) -> None:
    assert run("collections", "rename", "c1", "first").returncode == 0
    assert path_of("first") == two[0]
    assert two[0].is_dir()
    refused(run("collections", "rename", "c2", "first"), "another collection has this name")
    refused(run("collections", "rename", "c2", "a/b"), "no slashes")
    refused(run("collections", "rename", "c2"), "NAME NEW")


def test_removing(run, two: tuple[Path, Path], tmp_path: Path) -> None:
    refused(run("collections", "remove", "c1"), "the index of 1 images and 0 labels", "--yes")
    assert two[0].is_dir()
    assert run("collections", "remove", "c1", "--yes").returncode == 0
    assert not two[0].exists()
    assert (tmp_path / "photos 1" / "0.png").is_file()
    assert [known.name for known in known_collections()] == ["c2"]
    refused(run("collections", "remove", "c1"), "no such collection", "c2")


def test_collections_of_which_none_was_chosen(run, two: tuple[Path, Path], home_dir: Path) -> None:
    """The demo's, say, which other commands do not take by themselves."""
    (home_dir / "last.json").unlink()
    refused(run("status"), "no collection was chosen yet", "c1", "c2", "collections use")


def test_a_last_collection_that_is_gone(run, two: tuple[Path, Path]) -> None:
    shutil.rmtree(two[1])
    refused(run("status"), str(two[1]), "not there any more", "c1", "collections use c1")
    assert " gone " in run("collections").stdout.splitlines()[0]
    refused(run("collections", "use", "c2"), "not there any more")
    assert run("collections", "remove", "c2").returncode == 0
    assert run("collections", "use", "c1").returncode == 0
    assert run("status").returncode == 0


def test_a_damaged_list_is_made_anew(run, two: tuple[Path, Path], home_dir: Path) -> None:
    for content in ("", "{", "[]", '{"/x": 3}', "null"):
        (home_dir / FILE).write_text(content)
        assert known_collections() == []
    remember(two[0])
    assert [known.name for known in known_collections()] == ["c1"]


def test_collections_of_one_name(tmp_path: Path) -> None:
    for parent in ("a", "b"):
        (tmp_path / parent / "photos").mkdir(parents=True)
        remember(tmp_path / parent / "photos")
    assert {known.name: known.path.parent.name for known in known_collections()} == {"photos": "a", "photos-2": "b"}


def test_indexing_elsewhere_says_that_searches_go_there(run, two: tuple[Path, Path], tmp_path: Path) -> None:
    done = run("index", "--collection", two[0])
    assert f"search and app use {two[0]} now; to go back: " in done.stderr and "collections use c2" in done.stderr
    assert "from now on" not in run("index", "--collection", two[0]).stderr


def test_commands_say_which_collection_they_use(run, two: tuple[Path, Path], tmp_path: Path) -> None:
    query = tmp_path / "photos 1" / "0.png"
    assert f"collection c2 ({two[1]})\n" in run("search", query).stderr
    assert "collection" not in run("search", query, "--collection", "c2").stderr
    assert f"collection c2 ({two[1]})\n" in run("duplicates", "--exact").stderr


# -- what is typed by mistake


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("nothere.jpg", "nothere.jpg: no such file; check the spelling"),
        ("*.jpg", "no file matches this pattern"),
        ("-", "not read from standard input"),
        ("https://example.org/a.jpg", "https://example.org/a.jpg: a URL; nothing is fetched"),
        ("sunset", "no search by words"),
        ("photos 1", "a folder; name a picture in it"),
    ],
)
def test_queries_that_are_no_file(run, two: tuple[Path, Path], query: str, words: str) -> None:
    refused(run("search", "--collection", "c1", "--", query), words)


def test_one_bad_query_of_several(run, two: tuple[Path, Path], tmp_path: Path) -> None:
    good = tmp_path / "photos 1" / "0.png"
    done = run("search", "nothere.jpg", good, "--collection", "c1")
    assert done.returncode == 2
    assert "nothere.jpg: no such file" in done.stderr
    assert done.stdout.splitlines()[1].endswith(str(good))
    done = run("search", "a.jpg", "b.jpg", "--collection", "c1")
    assert done.returncode == 2 and done.stderr.endswith("error: none of 2 queries can be used\n")


def test_folders_that_are_not_in_the_collection(run, two: tuple[Path, Path], tmp_path: Path) -> None:
    query = tmp_path / "photos 1" / "0.png"
    refused(run("search", query, "--collection", "c1", "--folder", "nosuch"), "--folder nosuch: nothing of it")
    refused(run("duplicates", "nosuch", "--collection", "c1", "--exact"), "nosuch: nothing of it is indexed")
    refused(run("duplicates", two[0], "--collection", "c1", "--exact"), f"--collection {two[0]}")


def test_duplicates_of_a_folder(run, two: tuple[Path, Path], tmp_path: Path) -> None:
    with Collection.open(two[1]) as collection:
        for copy in ("x", "y"):
            shutil.copytree(tmp_path / "photos 2", tmp_path / copy)
            (tmp_path / copy / "0.png").unlink()
        paint(tmp_path / "x" / "twice.png", 7)
        shutil.copy(tmp_path / "x" / "twice.png", tmp_path / "x" / "again.png")
        collection.update([tmp_path / "x", tmp_path / "y"], workers=0)
    everything = json.loads(run("duplicates", "--exact", "--json", "--collection", "c2").stdout)
    below = json.loads(run("duplicates", "y", "--exact", "--json", "--collection", "c2").stdout)
    assert (len(everything), len(below)) == (2, 1)
    assert len(below[0]) == 3  # the group keeps its files elsewhere


def test_an_encoder_at_a_url(run, tmp_path: Path) -> None:
    paint(tmp_path / "photos" / "a.png", 1)
    done = run("index", "photos", "--encoder", "https://example.org/encoder.onnx", "--collection", "new")
    refused(done, "https://example.org/encoder.onnx: a URL", "hf://OWNER/NAME")
    assert not (tmp_path / "new").exists()


# -- one door for all commands


def test_the_package_runs_its_commands(two: tuple[Path, Path], run_command) -> None:
    done = run_command("__main__", "status", "c1", "--json")
    assert json.loads(done.stdout)["collection"] == str(two[0])
    done = run_command("__main__", "statsu")
    assert (done.returncode, done.stdout) == (2, "") and "statsu: no such command" in done.stderr
    assert "collections" in run_command("__main__").stdout


def test_help_has_no_none_and_ends_with_examples(run) -> None:
    for command in ("index", "search", "status", "duplicates", "collections", "open"):
        shown = run(command, "--help").stdout
        assert "None" not in shown, command
        assert shown[shown.index("\nexamples:\n") :].count(f"\n  {command}") >= 1
    for command in ("pretrain", "export", "probe", "convert", "publish", "reproduce", "transfer", "hand_over", "demo"):
        shown = run(command, "--help").stdout
        assert "{None}" not in shown and "default: None" not in shown, command
        assert shown[shown.index("\nexamples:\n") :].count(f"\n  {command}") >= 1
