"""Copies with their kinds in a collection: from the vectors to the command, and what people do with the list."""

import csv
import io
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from simsiam_retrieval import Collection, UserError
from simsiam_retrieval.collection.duplicates import find_copies, verifier
from simsiam_retrieval.collection.duplicates.move_script import spares, write_moves
from simsiam_retrieval.collection.duplicates.pixels.kinds import (
    CROP,
    EDITED,
    KINDS,
    LOOK_ALIKE,
    RESIZED,
    SAME_FILE,
    SAME_PIXELS,
)
from simsiam_retrieval.collection.duplicates.preferences import WORDS, Preferences
from simsiam_retrieval.collection.regions.reading import RegionVectors
from tests.support.commands import refused
from tests.support.small_encoder import small_encoder

NEAR = 0.5  # of the small encoder, which sees 8 x 8 pixels


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, photos: Path) -> Path:
    """A photo and its copies in two folders, and a photo of something else."""
    root = tmp_path_factory.mktemp("copies")
    for folder in ("a", "b"):
        (root / folder).mkdir()
    with Image.open(photos / "windmills/kinderdijk-windmills.jpg") as opened:
        photo = opened.convert("RGB")
    photo.save(root / "a/photo.png")
    shutil.copy(root / "a/photo.png", root / "b/again.png")
    photo.save(root / "b/photo.bmp")
    photo.resize((160, 120), Image.Resampling.LANCZOS).save(root / "a/small.jpg", quality=90)
    ImageOps.mirror(photo).save(root / "b/mirrored.jpg", quality=90)
    photo.crop((20, 15, 300, 225)).save(root / "b/part.jpg", quality=90)
    shutil.copy(photos / "planets/neptune.jpg", root / "a/neptune.jpg")
    shutil.copy(photos / "planets/uranus.jpg", root / "b/uranus.jpg")
    return root


@pytest.fixture(scope="module")
def made(pictures: Path, tmp_path_factory) -> Path:
    """Their collection."""
    folder = tmp_path_factory.mktemp("made")
    with Collection.create(folder / "c", small_encoder(folder / "small.onnx")) as collection:
        collection.update([pictures / "a", pictures / "b"], workers=0)
    return folder / "c"


@pytest.fixture
def collection(made: Path) -> Collection:
    return Collection.open(made)


def kinds_of(groups: list) -> list[dict[str, str]]:
    return [{file.path.name: file.kind for file in group} for group in groups]


COPIES = {
    "photo.bmp": "",
    "photo.png": SAME_PIXELS,
    "again.png": SAME_PIXELS,
    "small.jpg": RESIZED,
    "mirrored.jpg": EDITED,
    "part.jpg": CROP,
}


def test_every_file_has_its_kind(collection):
    groups = collection.copies(NEAR)
    assert kinds_of(groups) == [COPIES, {"neptune.jpg": "", "uranus.jpg": LOOK_ALIKE}]
    part = next(file for file in groups[0] if file.path.name == "part.jpg")
    assert part.part == "this" and part.box == pytest.approx((20 / 320, 15 / 240, 280 / 320, 210 / 240), abs=0.01)
    assert next(file for file in groups[0] if file.path.name == "mirrored.jpg").detail == "mirrored"


def test_a_second_run_compares_nothing(collection, monkeypatch):
    first = collection.copies(NEAR)

    def never(*_):
        raise AssertionError("compared again")

    monkeypatch.setattr(verifier.PixelComparison, "compare", never)
    assert collection.copies(NEAR) == first
    (collection.folder / "pairs.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(AssertionError, match="compared again"):
        collection.copies(NEAR)


def test_worker_processes_say_the_same(collection):
    (collection.folder / "pairs.sqlite").unlink(missing_ok=True)
    in_processes = collection.copies(NEAR, workers=1)
    assert kinds_of(in_processes) == kinds_of(collection.copies(NEAR))


def test_kinds_are_chosen(collection):
    assert kinds_of(collection.copies(NEAR, Preferences(kinds=(CROP, EDITED)))) == [
        {"photo.bmp": "", "mirrored.jpg": EDITED, "part.jpg": CROP}
    ]
    assert kinds_of(collection.copies(exact=True)) == [{"photo.png": "", "again.png": SAME_FILE}]


def test_a_picture_like_a_region_of_another_one_is_compared_with_it(collection, monkeypatch):
    """Of whole pictures only equal ones reach the threshold; hashes give no candidates here."""
    monkeypatch.setattr(find_copies, "hash_pairs", lambda hashes: [])
    by_name = {item.path.name: item.id for item in collection}
    assert not any("part.jpg" in group for group in kinds_of(collection.copies(0.9999)))
    vector = collection.vectors_of([by_name["part.jpg"]])
    regions = RegionVectors(np.array([by_name["photo.bmp"]]), np.zeros((1, 4), np.float32), vector)
    monkeypatch.setattr(Collection, "has_regions", True)
    monkeypatch.setattr(Collection, "region_vectors", lambda self: regions)
    assert kinds_of(collection.copies(0.9999))[0]["part.jpg"] == CROP


def test_across_lists_pairs_of_different_roots(collection, pictures):
    for best, *others in collection.copies(NEAR, Preferences(across=True)):
        assert others and all(file.path.parent != best.path.parent for file in others)
    names = {file.path.name for group in collection.copies(NEAR, Preferences(across=True)) for file in group}
    assert names == {"photo.bmp", "photo.png", "small.jpg", "neptune.jpg", "uranus.jpg"}


def test_reference_files_are_kept_and_others_listed(collection, pictures):
    [copies, planets] = kinds_of(collection.copies(NEAR, Preferences(reference=(pictures / "a",))))
    assert copies == {
        "photo.png": "",
        "again.png": SAME_FILE,
        "photo.bmp": SAME_PIXELS,
        "mirrored.jpg": EDITED,
        "part.jpg": CROP,
    }
    assert list(planets) == ["neptune.jpg", "uranus.jpg"]
    groups = kinds_of(collection.copies(NEAR, Preferences(reference=(pictures / "b",))))
    assert sorted(groups, key=list) == [
        {"again.png": "", "photo.png": SAME_FILE},
        {"photo.bmp": "", "small.jpg": RESIZED},
        {"uranus.jpg": "", "neptune.jpg": LOOK_ALIKE},
    ]
    with pytest.raises(UserError, match="nothing of it is indexed"):
        collection.copies(NEAR, Preferences(reference=(pictures / "c",)))


@pytest.mark.parametrize("keep", ["largest", "oldest", "shortest-path", "folder"])
def test_the_best_is_chosen(collection, pictures, keep):
    dates = {"photo.bmp": 5, "photo.png": 4, "again.png": 3, "small.jpg": 1, "mirrored.jpg": 2, "part.jpg": 6}
    for file in pictures.glob("*/*"):
        os.utime(file, (10**9, 10**9 + dates.get(file.name, 0)))
    collection.update([pictures / "a", pictures / "b"], workers=0)
    best = {"largest": "photo.bmp", "oldest": "small.jpg", "shortest-path": "part.jpg", "folder": "photo.png"}[keep]
    wish = f"folder:{pictures / 'a'}" if keep == "folder" else keep
    group = collection.copies(NEAR, Preferences(keep=wish))[0]
    assert group[0].path.name == best
    if best == "part.jpg":  # the part is the best one as wished: the whole is marked, and never moved
        whole = next(file for file in group if file.path.name == "photo.png")
        assert (whole.kind, whole.part) == (CROP, "best")
        assert not any(file.path == whole.path for file, _ in [(group[0], None)])
        assert spares([group], [CROP]) == []


def test_trash_is_never_the_best(tmp_path, pictures):
    (tmp_path / "p/.Trash-1000").mkdir(parents=True)
    shutil.copy(pictures / "b/photo.bmp", tmp_path / "p/.Trash-1000/large.bmp")
    shutil.copy(pictures / "a/small.jpg", tmp_path / "p/small.jpg")
    with Collection.create(tmp_path / "c", small_encoder(tmp_path / "small.onnx")) as collection:
        collection.update([tmp_path / "p", tmp_path / "p/.Trash-1000"], workers=0)
        for groups in (collection.copies(NEAR), collection.duplicates(NEAR)):
            assert [[file.path.name for file in group] for group in groups] == [["small.jpg", "large.bmp"]]


def test_files_that_are_gone_are_compared_by_their_thumbnails(tmp_path, pictures):
    shutil.copytree(pictures / "a", tmp_path / "p")
    with Collection.create(tmp_path / "c", small_encoder(tmp_path / "small.onnx")) as collection:
        collection.update([tmp_path / "p"], workers=0)
        (tmp_path / "p/small.jpg").unlink()
        [best, gone] = collection.copies(NEAR)[0]
    assert (best.path.name, gone.path.name, gone.state, gone.kind) == ("photo.png", "small.jpg", "gone", RESIZED)


ODD = ["it's $(touch x) `y`.png", "two\nlines.png", "-n.png", os.fsdecode(b"no utf-8 \xff.png")]


def test_the_script_moves_spares_and_nothing_else(tmp_path, pictures):
    root = tmp_path / "p"
    shutil.copytree(pictures, root)
    for name in ODD:
        shutil.copy(root / "a/photo.png", root / name)
    before = {file: file.read_bytes() for file in root.rglob("*") if file.is_file()}
    with Collection.create(tmp_path / "c", small_encoder(tmp_path / "small.onnx")) as collection:
        collection.update([root], workers=0)
        groups = collection.copies(NEAR)
    moves = spares(groups)
    moved = {spare for spare, _ in moves}
    assert {path.name for path in moved} == {"photo.png", "again.png", "small.jpg", *ODD}
    assert {kept for _, kept in moves} == {root / "b/photo.bmp"}
    script, target = tmp_path / "-moves.sh", tmp_path / "spare 'files'"
    write_moves(moves, script, target)
    (root / "a/small.jpg").rename(root / "a/renamed.jpg")
    done = subprocess.run(["sh", "./-moves.sh"], cwd=tmp_path, capture_output=True, check=True)
    assert b"skipped, because it is gone" in done.stderr and not (tmp_path / "x").exists()
    for file, content in before.items():
        if file.name == "small.jpg":
            continue
        now = target / file.relative_to("/") if file in moved else file
        assert now.read_bytes() == content and (now == file or not file.exists())
    again = subprocess.run(["sh", "./-moves.sh"], cwd=tmp_path, capture_output=True, check=True)
    assert again.stderr.count(b"skipped") == len(moves)
    write_moves([move for move in moves if "\n" not in move[0].name], tmp_path / "list.txt", target)
    names = (tmp_path / "list.txt").read_bytes().split(b"\n")[:-1]
    assert {Path(os.fsdecode(name)) for name in names} == {path for path in moved if "\n" not in path.name}
    with pytest.raises(UserError, match="line break"):
        write_moves(moves, tmp_path / "list.txt", target)


def test_a_spare_stays_while_the_best_file_is_gone(tmp_path):
    for name in ("best.png", "spare.png"):
        (tmp_path / name).write_text(name)
    write_moves([(tmp_path / "spare.png", tmp_path / "best.png")], tmp_path / "moves.sh", tmp_path / "to")
    (tmp_path / "best.png").unlink()
    done = subprocess.run(["sh", tmp_path / "moves.sh"], capture_output=True, check=True)
    assert b"the best file is gone" in done.stderr and (tmp_path / "spare.png").exists()


# -- the command


def test_the_command_shows_and_filters_kinds(run, made, tmp_path):
    given = ["--collection", made, "--threshold", NEAR]
    lines = run("duplicates", *given).stdout.splitlines()
    assert lines[0] == "group 1: 6 files"
    assert any("crop of best, 77 % of it" in line and line.endswith("part.jpg") for line in lines)
    assert any(line.startswith("similar 1: 2 files") for line in lines)
    [group] = json.loads(run("duplicates", *given, "--kind", "crop", "--json").stdout)
    assert [(file["kind"], file["part"]) for file in group] == [("", ""), (CROP, "this")]
    assert len(group[1]["box"]) == 4 and not group[1]["possibly"]
    rows = list(csv.DictReader(io.StringIO(run("duplicates", *given, "--csv").stdout)))
    assert {row["kind"] for row in rows} == {"", SAME_PIXELS, RESIZED, EDITED, CROP, LOOK_ALIKE}
    assert [row["possibly"] for row in rows if row["kind"] == LOOK_ALIKE] == ["1"]
    done = run("duplicates", *given, "--move-script", tmp_path / "moves.sh", "--move-to", tmp_path / "to")
    assert "moves 3 files; nothing was moved yet" in done.stderr
    assert (tmp_path / "moves.sh").read_text().count("\nmove '") + (tmp_path / "moves.sh").read_text().count(
        "\nmove /"
    ) == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--kind", "twin"],
            "--kind twin: choose from same-file, same-pixels, resized, edited, crop, burst, look-alike",
        ),
        (["--keep", "newest"], "--keep newest: choose largest, oldest, shortest-path or folder:PATH"),
        (["--keep", "folder:"], "--keep folder:"),
        (["--fast", "--across"], "--fast and --across: choose one"),
        (["--move-script", "m.sh"], "say where the files go: --move-to FOLDER"),
        (["--move-to", "spares"], "goes with --move-script"),
        (["--reference", "/nowhere"], "--reference /nowhere: nothing of it is indexed"),
    ],
)
def test_what_cannot_be(run, made, options, words):
    refused(run("duplicates", "--collection", made, "--threshold", NEAR, *options), words)


def test_across_needs_two_roots(tmp_path, pictures, run):
    with Collection.create(tmp_path / "c", small_encoder(tmp_path / "small.onnx")) as collection:
        collection.update([pictures / "a"], workers=0)
    refused(
        run("duplicates", "--collection", tmp_path / "c", "--threshold", NEAR, "--across"), "indexed from one folder"
    )


def test_the_words_of_the_command_are_the_kinds() -> None:
    assert list(WORDS.values()) == list(KINDS)
