"""Duplicates: which files form a group, which is the best, what the command prints; nothing is ever deleted."""

import csv
import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from simsiam_retrieval import Collection, UserError, load_encoder
from simsiam_retrieval.collection.duplicates.backup_names import backup_parts
from simsiam_retrieval.collection.duplicates.thresholds import CALIBRATED, SURE, split_possible
from tests.support.commands import refused
from tests.support.small_encoder import expected_vector, paint, small_encoder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two originals with copies of several kinds, and a picture that has none."""
    root = tmp_path / "pictures"
    for name, seed in (("a.png", 1), ("b.png", 2), ("c.png", 3)):
        paint(root / name, seed, (120, 90))
    shutil.copy(root / "a.png", root / "a again.png")
    shutil.copy(root / "a.png", root / "z.png")
    with Image.open(root / "a.png") as image:
        image.resize((60, 45), Image.Resampling.LANCZOS).save(root / "a small.jpg", quality=90)
    with Image.open(root / "b.png") as image:
        image.save(root / "b.jpg", quality=90)
    return root


@pytest.fixture
def collection(folder: Path, tmp_path: Path) -> Collection:
    made = Collection.create(tmp_path / "made", small_encoder(tmp_path / "small.onnx"))
    made.update([folder], workers=0)
    return made


def named(groups: list) -> list[list[str]]:
    return [[file.path.name for file in group] for group in groups]


NEAR = 0.98

GROUPS = [["a again.png", "a.png", "z.png", "a small.jpg"], ["b.png", "b.jpg"]]


def test_groups_of_near_duplicates(collection, folder):
    groups = collection.duplicates(NEAR)
    assert named(groups) == GROUPS
    assert [file.exact for file in groups[0]] == [True, True, True, False]
    assert [file.exact for file in groups[1]] == [True, False]
    for group in groups:
        best = expected_vector(group[0].path)
        assert [file.score for file in group] == pytest.approx(
            [best @ expected_vector(file.path) for file in group], abs=1e-5
        )
        assert all(file.state == "" for file in group)


def test_exact_copies_only(collection):
    assert named(collection.duplicates(exact=True)) == [["a again.png", "a.png", "z.png"]]


def test_the_default_threshold_is_measured(collection, photos, tmp_path):
    """The shipped encoder's comes from the committed measurement; for another encoder one must be named."""
    identity = load_encoder().identity
    results = Path(__file__).parents[3] / "benchmarks/results/duplicates/threshold.json"
    report = json.loads(results.read_text())
    assert (report["encoder"], report["threshold"]) == (identity, CALIBRATED[identity])
    with pytest.raises(UserError, match="--threshold"):
        collection.duplicates()
    with Collection.create(tmp_path / "shipped") as shipped:
        shipped.update([photos / "windmills", photos / "castles", photos / "fish"], workers=0)
        assert {frozenset(group) for group in named(shipped.duplicates())} == {
            frozenset(
                ["neuschwanstein-castle-near-duplicate-exif-rotated.jpg", "neuschwanstein-castle.jpg"],
            ),
            frozenset(["kinderdijk-windmills.jpg", "kinderdijk-windmills-near-duplicate-small.jpg"]),
        }


@pytest.mark.parametrize("threshold", [0, -0.5, 1.01, 90, float("nan"), float("inf")])
def test_thresholds_that_are_no_cosine(collection, threshold):
    with pytest.raises(UserError, match="above 0 and at most 1"):
        collection.duplicates(threshold)


def test_a_threshold_of_one(collection):
    assert named(collection.duplicates(1)) == [["a again.png", "a.png", "z.png"]]


def test_the_best_is_the_largest_picture_then_the_largest_file(collection, folder):
    with Image.open(folder / "b.png") as image:
        image.resize((240, 180), Image.Resampling.BICUBIC).save(folder / "b large.jpg", quality=60)
        image.save(folder / "b.bmp")
    collection.update([folder], workers=0)
    assert (folder / "b.bmp").stat().st_size > (folder / "b.png").stat().st_size > (folder / "b.jpg").stat().st_size
    assert ["b large.jpg", "b.bmp", "b.png", "b.jpg"] in named(collection.duplicates(NEAR))


def test_among_equals_the_best_is_no_backup(collection, folder, tmp_path):
    """Sorted by path, the first four would come before the original."""
    original = folder / "c.png"
    for copy in ("Backup of photos/c.png", "#recycle/c.png", "b/c (1).png", "a - Kopie.png"):
        (folder / copy).parent.mkdir(exist_ok=True)
        shutil.copy(original, folder / copy)
    collection.update([folder, folder / "#recycle"], workers=0)
    [group] = [group for group in collection.duplicates(exact=True) if len(group) == 5]
    assert group[0].path == original
    with Image.open(original) as image:  # more pixels outweigh the place
        image.resize((240, 180), Image.Resampling.BICUBIC).save(folder / "Backup of photos" / "large.png")
    collection.update([folder], workers=0)
    assert next(group for group in named(collection.duplicates(NEAR)) if "c.png" in group)[:2] == ["large.png", "c.png"]


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("/photos/Paris/backyard.jpg", 0),
        ("/photos/copyright/xerocopy.jpg", 0),
        ("/photos/backup_2020/a copy.jpg", 2),
        ("/Sicherungskopien/Été/cópia.jpg", 2),
        ("/Gelo\u0308scht/a.jpg", 1),  # decomposed, as macOS stores it
        ("/mnt/.Trash-1000/files/a (12).jpg", 2),
        ("/photos/concert (2019).jpg", 0),
    ],
)
def test_paths_that_look_like_copies(path, parts):
    assert backup_parts(Path(path)) == parts


def test_files_that_are_gone_or_changed_are_marked_and_never_the_best(collection, folder):
    (folder / "a again.png").unlink()
    paint(folder / "a.png", 77, (120, 90))
    before = sorted(folder.iterdir())
    first, second = collection.duplicates(NEAR)
    assert [(file.path.name, file.state) for file in first] == [
        ("z.png", ""),
        ("a small.jpg", ""),
        ("a.png", "changed"),
        ("a again.png", "gone"),
    ]
    assert [file.exact for file in first] == [True, False, True, True]
    assert named([second]) == [["b.png", "b.jpg"]]
    assert sorted(folder.iterdir()) == before


def test_links_are_marked(collection, folder):
    """Removing the file that a link points to would lose the picture; removing a second name frees nothing."""
    (folder / "0 link.png").symlink_to("c.png")
    os.link(folder / "b.png", folder / "d.png")
    collection.update([folder], workers=0)
    found = {group[0].path.name: [(file.path.name, file.state) for file in group] for group in collection.duplicates(1)}
    assert found["c.png"] == [("c.png", ""), ("0 link.png", "link")]
    assert found["b.png"] == [("b.png", ""), ("d.png", "link")]


def test_everything_gone(collection, folder):
    shutil.rmtree(folder)
    groups = collection.duplicates(NEAR)
    assert named(groups) == GROUPS
    assert {file.state for group in groups for file in group} == {"gone"}


@pytest.mark.parametrize("count", [0, 1, 2])
def test_very_small_collections(tmp_path, count):
    (tmp_path / "few").mkdir()
    for number in range(count):
        paint(tmp_path / "few" / f"{number}.png", seed=5)
    with Collection.create(tmp_path / "made", small_encoder(tmp_path / "small.onnx")) as collection:
        collection.update([tmp_path / "few"], workers=0)
        for groups in (collection.duplicates(NEAR), collection.duplicates(exact=True)):
            assert named(groups) == ([["0.png", "1.png"]] if count == 2 else [])


def test_all_images_alike(tmp_path):
    """Near duplicates, none of them equal in its bytes."""
    for number in range(60):
        paint(tmp_path / "alike" / f"{number:02d}.png", 5, (40 + number, 30 + number * 3 // 4))
    with Collection.create(tmp_path / "made", small_encoder(tmp_path / "small.onnx")) as collection:
        collection.update([tmp_path / "alike"], workers=0)
        [group] = collection.duplicates(0.9)
        assert len(group) == 60
        assert group[0].path.name == "59.png"
        assert collection.duplicates(exact=True) == []


def test_against_a_plain_search(collection_dir, photos, encoder_file):
    """On real photos: every pair at or above the threshold is in one group, or one of the two follows another best."""
    with Collection.open(collection_dir) as collection:
        groups = collection.duplicates(0.97)
        paths = [item.path for item in collection]
    vectors = load_encoder(encoder_file, device="cpu").embed(paths).astype(float)
    best = {file.path: group[0].path for group in groups for file in group}
    row = {path: number for number, path in enumerate(paths)}
    similarity = vectors @ vectors.T
    for path, leader in best.items():
        assert similarity[row[path], row[leader]] >= 0.97 - 1e-4
    kept = [row[path] for path in paths if best.get(path, path) == path]
    among = similarity[np.ix_(kept, kept)]
    np.fill_diagonal(among, -1)
    assert among.max() < 0.97 + 1e-4
    assert groups


def test_an_update_meanwhile(collection, folder):
    """Files forgotten between comparing and reporting are left out; the answer is of one state or less."""

    def meanwhile(rows: int, total: int) -> None:
        (folder / "z.png").unlink()
        (folder / "b.png").unlink()
        with Collection.open(collection.folder) as other:
            other.update([folder], workers=0)

    assert named(collection.duplicates(NEAR, on_progress=meanwhile)) == [["a again.png", "a.png", "a small.jpg"]]


def test_a_missing_vector_is_damage(collection):
    with sqlite3.connect(collection.folder / "catalog.sqlite") as database:
        database.execute("DELETE FROM vectors WHERE item = 2")
    database.close()
    with pytest.raises(UserError, match="damaged"):
        collection.duplicates(NEAR)


def test_what_is_possibly_the_same(collection):
    """A file below the sure cosine leaves its group for one of the possible ones, with the best file beside it."""
    groups = collection.duplicates(NEAR)
    small, converted = groups[0][3].score, groups[1][1].score
    assert small < converted < 1
    assert [named(part) for part in split_possible(groups, None)] == [GROUPS, []]
    assert [named(part) for part in split_possible(groups, (small + converted) / 2)] == [
        [["a again.png", "a.png", "z.png"], ["b.png", "b.jpg"]],
        [["a again.png", "a small.jpg"]],
    ]


# -- the command


def test_possible_duplicates_come_last(run, collection, monkeypatch):
    groups = collection.duplicates(NEAR)
    between = (groups[0][3].score + groups[1][1].score) / 2
    monkeypatch.setitem(CALIBRATED, collection.encoder_identity, NEAR)
    monkeypatch.setitem(SURE, collection.encoder_identity, between)
    lines = run("duplicates", "--collection", collection.folder, "--fast").stdout.splitlines()
    at = lines.index(next(line for line in lines if line.startswith("possibly: ")))
    assert not any("a small.jpg" in line for line in lines[:at]) and any("b.jpg" in line for line in lines[:at])
    assert lines[at + 2] == "possibly 1: 2 files" and "a small.jpg" in lines[at + 4]
    found = json.loads(run("duplicates", "--collection", collection.folder, "--fast", "--json").stdout)
    assert [[file["possibly"] for file in group] for group in found] == [[False] * 3 + [True], [False, False]]
    chosen = run("duplicates", "--collection", collection.folder, "--fast", "--threshold", NEAR)
    assert "possibly" not in chosen.stdout


def test_the_table(run, collection, folder):
    done = run("duplicates", "--collection", collection.folder, "--threshold", NEAR)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "group 1: 4 files"
    assert lines[1].split() == ["best", "120x90", *lines[1].split()[2:4], f"{folder}/a", "again.png"]
    assert lines[2].split()[0] == "exact"
    assert float(lines[4].split()[0]) >= NEAR
    assert lines[-1].startswith("2 groups, 4 files besides the best ones (")


def test_no_duplicates(run, tmp_path):
    paint(tmp_path / "one" / "x.png", 1)
    with Collection.create(tmp_path / "made", small_encoder(tmp_path / "small.onnx")) as collection:
        collection.update([tmp_path / "one"], workers=0)
    for options in (["--threshold", "0.9"], ["--exact"]):
        done = run("duplicates", "--collection", tmp_path / "made", *options)
        assert (done.returncode, done.stdout, done.stderr) == (0, "no duplicates among 1 images\n", "")
    assert run("duplicates", "--collection", tmp_path / "made", "--exact", "--json").stdout == "[]\n"


ODD = ['comma, "quote".png', "two\nlines.png", "\x1b[31mred.png", "möwe.png", os.fsdecode(b"no utf-8 \xff.png")]


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A collection of copies with odd names."""
    paint(tmp_path / "odd" / "first.png", 1)
    for name in ODD:
        shutil.copy(tmp_path / "odd" / "first.png", tmp_path / "odd" / name)
    with Collection.create(tmp_path / "made", small_encoder(tmp_path / "small.onnx")) as collection:
        collection.update([tmp_path / "odd"], workers=0)
    return tmp_path / "made"


def test_json_keeps_every_name(run, odd, tmp_path):
    done = run("duplicates", "--collection", odd, "--exact", "--json")
    [group] = json.loads(done.stdout)
    assert {Path(file["path"]).name for file in group} == {"first.png", *ODD}
    assert all(Path(file["path"]).is_file() for file in group)
    old = {"path", "score", "exact", "state", "width", "height", "bytes", "possibly"}
    assert set(group[0]) == old | {"kind", "detail", "part", "box"}
    assert group[0]["bytes"] == (tmp_path / "odd/first.png").stat().st_size


def test_csv_keeps_every_name(odd, tmp_path):

    done = subprocess.run(
        [sys.executable, "-m", "simsiam_retrieval.duplicates", "--collection", odd, "--exact", "--csv"],
        capture_output=True,
        check=True,
    )
    rows = list(csv.DictReader(io.StringIO(os.fsdecode(done.stdout), newline="")))
    assert {Path(row["path"]).name for row in rows} == {"first.png", *ODD}
    assert all(Path(row["path"]).is_file() for row in rows)
    assert [row["best"] for row in rows] == ["1", "0", "0", "0", "0", "0"]
    assert {(row["group"], row["exact"], row["width"], row["height"]) for row in rows} == {("1", "1", "40", "30")}


def test_odd_names_do_not_break_the_table(run, odd):
    done = run("duplicates", "--collection", odd, "--exact")
    assert "\x1b" not in done.stdout
    assert len(done.stdout.splitlines()) == 1 + 6 + 2


def test_files_that_are_gone_are_pointed_out(run, collection, folder):
    (folder / "b.jpg").unlink()
    done = run("duplicates", "--collection", collection.folder, "--threshold", NEAR)
    assert done.returncode == 0
    assert f"{folder}/b.jpg  (gone)" in done.stdout
    assert done.stderr.startswith("1 of the files below")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--threshold", "2"], "--threshold 2"),
        (["--exact", "--threshold", "0.9"], "choose one"),
        (["--json", "--csv", "--exact"], "choose one"),
        ([], "no threshold is known"),
    ],
)
def test_what_cannot_be(run, collection, options, words):
    refused(run("duplicates", "--collection", collection.folder, *options), words)


def test_no_collection(run, tmp_path):
    refused(run("duplicates"), "nothing is indexed yet")
    refused(run("duplicates", "--collection", tmp_path / "nowhere"), "not a collection")


# -- pictures of one colour


def test_plain_pictures_are_duplicates_of_equal_files_alone(tmp_path, folder):
    for name, colour, size in (("w1", "white", (90, 60)), ("w2", "white", (50, 50)), ("g", "#f0f0f0", (300, 200))):
        Image.new("RGB", size, colour).save(folder / f"{name}.png")
    shutil.copy(folder / "w1.png", folder / "w1 again.png")
    with Collection.create(tmp_path / "with plain", small_encoder(tmp_path / "small.onnx")) as collection:
        collection.update([folder], workers=0)
        groups = [{file.path.name for file in group} for group in collection.duplicates(0.9)]
        assert {"w1.png", "w1 again.png"} in groups and not any({"w2.png", "g.png"} & group for group in groups)
        assert {"a.png", "a again.png", "z.png", "a small.jpg"} in groups and {"b.png", "b.jpg"} in groups
        compared = collection.compare(0.9)
        again = compared.describe(compared.groups(0.9))
        assert [{file.path.name for file in group} for group in again] == groups
