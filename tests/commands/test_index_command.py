"""``python -m simsiam_retrieval.index``: what it prints, and what it says of what cannot work."""

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from simsiam_retrieval import Collection
from tests.support.commands import refused
from tests.support.small_collections import index_arguments, indexed, painted
from tests.support.small_encoder import expected_vector, paint, set_meta, small_encoder


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    return small_encoder(tmp_path / "small.onnx")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return painted(tmp_path / "pictures", 3)


@pytest.fixture
def made(folder: Path, tmp_path: Path) -> Path:
    """The folder of a collection of ``folder``."""
    return indexed(folder, tmp_path / "made")


# -- what it prints


def test_indexing_twice(run_command, folder, encoder, tmp_path):
    (folder / "notes.txt").touch()
    target = tmp_path / "collection"
    done = run_command("index", *index_arguments(folder, encoder, target))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"3 images in {target} (3 new, 0 changed, 0 gone, 1 other files passed over: 1 .txt)\n"
    (folder / "notes.txt").unlink()
    (folder / "0.jpg").unlink()
    paint(folder / "1.jpg", 50)
    paint(folder / "3.jpg", 51)
    done = run_command("index", *index_arguments(folder, None, target))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"3 images in {target} (1 new, 1 changed, 1 gone)\n"
    with Collection.open(target) as collection:
        assert [item.path.name for item in collection] == ["1.jpg", "2.jpg", "3.jpg"]
        assert collection.search(expected_vector(folder / "3.jpg"), k=1)[0].path == folder / "3.jpg"


def test_without_collection_it_is_the_default_one(run, folder, encoder, home_dir):
    done = run("index", folder, "--encoder", encoder)
    target = home_dir / "collections" / "default"
    assert (done.returncode, done.stdout) == (0, f"3 images in {target} (3 new, 0 changed, 0 gone)\n")
    with Collection.open(target) as collection:
        assert len(collection) == 3
    assert run("index", folder).stdout == f"3 images in {target} (0 new, 0 changed, 0 gone)\n"


def test_a_run_folder_is_an_encoder(run, folder, run_dir, encoder_file, tmp_path):
    done = run("index", *index_arguments(folder, run_dir, tmp_path / "collection"))
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "collection" / "encoder.onnx").read_bytes() == encoder_file.read_bytes()


def test_relative_paths_and_the_home_folder(run, folder, encoder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    done = run("index", "pictures", "--encoder", "small.onnx", "--collection", "~/col")
    assert done.returncode == 0, done.stderr
    for spelling in ("./pictures/", "~/pictures", "pictures/../pictures", folder):
        (folder / "0.jpg").unlink(missing_ok=True)
        done = run("index", spelling, "--collection", "../" + tmp_path.name + "/col")
        assert done.stdout.startswith("2 images in ")
    with Collection.open(tmp_path / "col") as collection:
        assert collection.roots == [folder]
        assert [item.path for item in collection] == [folder / "1.jpg", folder / "2.jpg"]


def test_broken_files_are_remarks(run_command, folder, encoder, tmp_path):
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("no image")
    (folder / os.fsdecode(b"not utf-8 \xff.jpg")).touch()
    (folder / "<img src=x onerror=alert(1)>.jpg").touch()
    target = tmp_path / "collection"
    for facts in ("3 new", "0 new"):
        done = run_command("index", *index_arguments(folder, encoder, target))
        assert done.returncode == 0
        assert done.stdout == f"3 images in {target} ({facts}, 0 changed, 0 gone, 4 unusable)\n"
        remarks = done.stderr.splitlines()
        assert len(remarks) == 4
        assert all(remark.startswith(f"left out: {folder}/") for remark in remarks)
        assert f"left out: {folder}/empty.jpg: " in done.stderr
        assert "<img src=x onerror=alert(1)>.jpg: " in done.stderr


def test_thousands_of_broken_files_are_summed_up(run, folder, encoder, tmp_path):
    for number in range(1000):
        (folder / f"x{number}.jpg").touch()
    done = run("index", *index_arguments(folder, encoder, tmp_path / "collection"))
    assert done.returncode == 0
    assert "1000 unusable" in done.stdout
    remarks = done.stderr.splitlines()
    assert len(remarks) == 11
    assert remarks[-1].startswith("left out: 990 more: ")


def test_help(run):
    done = run("index", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    for option in ("FOLDER", "--collection", "--encoder", "--workers", "--engine"):
        assert option in done.stdout


HEAVY = {"torch", "torchvision", "streamlit", "faiss", "onnxruntime", "numpy", "PIL"}


@pytest.mark.parametrize("command", ["index", "search", "status", "duplicates", "hand_over"])
def test_help_loads_nothing_heavy(command):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", f"simsiam_retrieval.{command}", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "tyro" in loaded
    assert not loaded & HEAVY


def test_neither_indexing_nor_searching_needs_torch_or_faiss(folder, encoder, tmp_path):
    script = """
import runpy, sys
for command, *arguments in ["index", *sys.argv[1:]], ["search", sys.argv[1] + "/0.jpg"]:
    sys.argv = [command, *arguments]
    try:
        runpy.run_module("simsiam_retrieval." + command, run_name="__main__")
    except SystemExit as end:
        assert end.code == 0, end.code
print("loaded:", *sorted({"torch", "torchvision", "streamlit", "onnx", "faiss"} & set(sys.modules)))
"""
    arguments = index_arguments(folder, encoder, tmp_path / "collection")
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded:"


def test_files_of_a_missing_extra_are_summed_up(run, folder, encoder, tmp_path, monkeypatch):
    from simsiam_retrieval.images import dicom, jxl

    for number in range(12):
        (folder / f"{number}.dcm").write_bytes(bytes(128) + b"DICM" + bytes([number]) * 9)
    (folder / "a.jxl").write_bytes(b"\xff\x0a and more")
    monkeypatch.setattr(dicom, "version", lambda: None)
    monkeypatch.setattr(jxl, "version", lambda: None)
    done = run("index", *index_arguments(folder, encoder, tmp_path / "made"))
    assert done.stderr.splitlines() == [
        "left out: 12 DICOM files: pip install 'simsiam-retrieval[medical]'",
        "left out: 1 JPEG XL file: pip install 'simsiam-retrieval[jxl]'",
    ]


# -- what cannot work


def test_no_folder(run, home_dir):
    done = run("index")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "error: :" not in done.stderr  # a folder without a name
    assert "folder" in done.stderr.lower()
    assert list(home_dir.iterdir()) == []


@pytest.mark.parametrize("kind", ["empty", "missing", "text", "broken", "text file", "~nobody-of-this-name/x"])
def test_nothing_to_index(run, encoder, tmp_path, home_dir, kind):
    folder = tmp_path / "folder"
    if kind != "missing":
        folder.mkdir()
    if kind == "text":
        (folder / "a.txt").write_text("text")
    if kind == "broken":
        (folder / "a.jpg").write_text("text")
        (folder / "b.png").touch()
    if kind == "text file":
        folder = paint(folder / "x.jpg", 1).rename(folder / "x.txt")
    if kind.startswith("~"):
        folder = Path(kind)
    before = sorted(tmp_path.rglob("*"))
    refused(run("index", folder, "--encoder", encoder), folder.name)
    refused(run("index", *index_arguments(folder, encoder, tmp_path / "collection")), folder.name)
    assert sorted(tmp_path.rglob("*")) == before
    assert not (home_dir / "collections" / "default").exists()
    assert not (home_dir / "last.json").exists()


def test_a_missing_folder_beside_a_good_one(run, folder, encoder, tmp_path):
    done = run("index", folder, tmp_path / "missing", "--collection", tmp_path / "c", "--encoder", encoder)
    refused(done, "missing")
    assert not (tmp_path / "c").exists()


def test_broken_images_do_not_take_a_collection_away(run, made, folder, tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.jpg").touch()
    done = run("index", tmp_path / "bad", "--collection", made)
    assert done.returncode == 0
    assert done.stdout == f"3 images in {made} (0 new, 0 changed, 0 gone, 1 unusable)\n"
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "x.jpg").touch()
    refused(run("index", folder, "--collection", made), "none of 1")
    assert Collection.exists(made)


def test_an_empty_folder_made_beforehand_stays(run, encoder, tmp_path):
    """Only what was made is taken away: the empty folder may be a mount point."""
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.jpg").touch()
    (tmp_path / "collection").mkdir()
    refused(run("index", *index_arguments(tmp_path / "bad", encoder, tmp_path / "collection")))
    assert list((tmp_path / "collection").iterdir()) == []


@pytest.mark.parametrize("kind", ["missing", "text", "folder", "no encoder"])
def test_encoders_that_are_none(run, folder, tmp_path, kind):
    encoder = tmp_path / "other"
    if kind == "text":
        encoder.write_text("no model")
    if kind == "folder":
        encoder.mkdir()
    if kind == "no encoder":
        import onnx

        model = onnx.load(small_encoder(encoder))
        del model.metadata_props[:]
        onnx.save(model, encoder)
    refused(run("index", *index_arguments(folder, encoder, tmp_path / "collection")), "other")
    assert not (tmp_path / "collection").exists()


def test_another_encoder(run_command, made, folder, tmp_path):
    other = small_encoder(tmp_path / "other.onnx", grey=100)
    paint(folder / "new.jpg", 50)
    refused(run_command("index", *index_arguments(folder, other, made)), "another encoder", "--collection")
    with Collection.open(made) as collection:
        assert len(collection) == 3
    same = shutil.copy(tmp_path / "small.onnx", tmp_path / "same.onnx")
    assert run_command("index", *index_arguments(folder, Path(same), made)).returncode == 0


@pytest.mark.parametrize("damage", ["garbage", "truncated", "cut to a page", "zero bytes", "foreign"])
@pytest.mark.parametrize("command", ["index", "search"])
def test_a_damaged_catalog(run, made, folder, damage, command):
    catalog = made / "catalog.sqlite"
    content = catalog.read_bytes()
    new = {"garbage": b"garbage " * 1000, "truncated": content[: len(content) // 2], "cut to a page": content[:4096]}
    catalog.write_bytes(new.get(damage, b""))
    if damage == "foreign":
        database = sqlite3.connect(catalog)
        database.execute("CREATE TABLE cookies (name)")
        database.close()
    for cache in made.glob("*.faiss"):
        cache.unlink()
    argument = folder if command == "index" else folder / "0.jpg"
    refused(run(command, argument, "--collection", made), "damaged", "catalog.sqlite")
    assert sorted(path.name for path in made.iterdir() if path.suffix in (".onnx", ".sqlite")) == [
        "catalog.sqlite",
        "encoder.onnx",
    ]


@pytest.mark.parametrize("content", ["missing", "other", "garbage", "empty"])
def test_a_damaged_encoder_inside(run, made, folder, content):
    encoder = made / "encoder.onnx"
    encoder.unlink()
    if content == "other":
        small_encoder(encoder, grey=100)
    elif content != "missing":
        encoder.write_bytes(b"garbage" if content == "garbage" else b"")
    refused(run("search", folder / "0.jpg", "--collection", made), "encoder.onnx")
    paint(folder / "new.jpg", 50)
    refused(run("index", folder, "--collection", made), "encoder.onnx")
    with Collection.open(made) as collection:
        assert len(collection) == 3


@pytest.mark.parametrize("command", ["index", "search"])
def test_a_collection_of_a_newer_version(run, made, folder, command):
    set_meta(made, "schema", "99")
    argument = folder if command == "index" else folder / "0.jpg"
    refused(run(command, argument, "--collection", made), "newer", "upgrade")


@pytest.mark.parametrize("command", ["index", "search"])
@pytest.mark.parametrize("kind", ["file", "folder in use", "below a file"])
def test_a_collection_that_is_none(run, folder, tmp_path, command, kind):
    (tmp_path / "file").write_text("precious")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "thesis.tex").write_text("precious")
    target = {"file": tmp_path / "file", "folder in use": tmp_path / "used", "below a file": tmp_path / "file/x"}[kind]
    argument = folder if command == "index" else folder / "0.jpg"
    encoder = ["--encoder", small_encoder(tmp_path / "e.onnx")] if command == "index" else []
    refused(run(command, argument, "--collection", target, *encoder), str(target))
    assert (tmp_path / "file").read_text() == "precious"
    assert [path.name for path in (tmp_path / "used").iterdir()] == ["thesis.tex"]


def test_an_unknown_user(run, folder, encoder):
    """A shell leaves ~NAME as it is when there is nobody of that name."""
    refused(run("index", *index_arguments(folder, encoder, Path("~nobody-of-this-name/x"))), "~nobody-of-this-name")


@pytest.mark.parametrize("workers", ["-1", "x"])
def test_workers_that_are_no_number_of_workers(encoder, tmp_path, workers):
    for number in range(30):
        paint(tmp_path / "many" / f"{number}.jpg", number)
    arguments = [*index_arguments(tmp_path / "many", encoder, tmp_path / "c"), "--workers", workers]
    command = [sys.executable, "-m", "simsiam_retrieval.index", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "--workers" in done.stderr
    assert not (tmp_path / "c").exists()


def test_an_unknown_option(run_command, folder):
    done = run_command("index", folder, "--colection", "x")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--colection" in done.stderr
    assert "--collection" in done.stderr
    assert "Traceback" not in done.stderr
