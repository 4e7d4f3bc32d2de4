"""The command select: what it chooses, writes, and refuses."""

import csv
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from simsiam_retrieval import Collection
from simsiam_retrieval.collection.labelling.exported_labels import exported_labels
from tests.support.commands import Run, refused, runner
from tests.support.small_encoder import paint, small_encoder

SIZES = {"red": 20, "green": 12, "blue": 6}
COLOURS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(tmp_path, capsys, monkeypatch)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection of three kinds of pictures, 20, 12 and 6."""
    folder = tmp_path_factory.mktemp("select")
    for name, size in SIZES.items():
        for number in range(size):
            file = paint(folder / "photos" / name / f"{number}.png", seed=number)
            with Image.open(file) as image:
                Image.blend(image, Image.new("RGB", image.size, COLOURS[name]), 0.8).save(file)
    with Collection.create(folder / "c", small_encoder(folder / "small.onnx")) as collection:
        collection.update([folder / "photos"], workers=1)
    return folder


def _chosen(run: Run, place: Path, *options: object) -> list[dict]:
    done = run("select", *options, "--collection", place / "c", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _kinds(rows: list[dict]) -> list[str]:
    return [Path(row["path"]).parent.name for row in rows]


def test_one_of_each_kind_and_the_same_again(run: Run, place: Path) -> None:
    rows = _chosen(run, place, 3)
    assert set(_kinds(rows)) == {"red", "green", "blue"} and [row["rank"] for row in rows] == [1, 2, 3]
    assert rows == _chosen(run, place, 3)


@pytest.mark.parametrize("strategy", ["representative", "typical", "central", "diverse", "mixed", "random"])
def test_every_strategy_gives_as_many_as_asked_for(run: Run, place: Path, strategy: str) -> None:
    rows = _chosen(run, place, 10, "--strategy", strategy, "--seed", 3)
    assert len({row["id"] for row in rows}) == 10
    assert rows == _chosen(run, place, 10, "--strategy", strategy, "--seed", 3)


def test_growing_from_what_was_chosen(run: Run, place: Path, tmp_path: Path) -> None:
    first = _chosen(run, place, 3)
    done = run("select", 3, "--collection", place / "c", "--out", "first.csv")
    assert done.returncode == 0 and not done.stdout and "wrote first.csv: 3 images" in done.stderr
    run("select", 2, "--collection", place / "c", "--folder", place / "photos" / "red", "--out", "more.txt")
    rows = _chosen(run, place, 8, "--chosen", "first.csv", "--chosen", "more.txt")
    earlier = {row["path"] for row in first} | set((tmp_path / "more.txt").read_text().split("\n"))
    assert not {row["path"] for row in rows} & earlier


def test_labels_bring_predictions_and_uncertain_images(run: Run, place: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    given = {f"{kind}/{number}.png": kind for kind in SIZES for number in (0, 1)}
    labels.write_text("path,label\n" + "".join(f"{path},{label}\n" for path, label in given.items()))
    for strategy in ("uncertain", "mixed", "auto"):
        rows = _chosen(run, place, 9, "--labels", labels, "--strategy", strategy)
        assert not {"/".join(Path(row["path"]).parts[-2:]) for row in rows} & set(given)
        right = Counter(row["label"] == kind for row, kind in zip(rows, _kinds(rows), strict=True))
        assert right[True] >= 7 and all(0 < row["probability"] <= 1 for row in rows)


def test_folders_and_filters_are_candidates(run: Run, place: Path) -> None:
    rows = _chosen(run, place, 4, "--folder", place / "photos" / "blue", "--name", "?.png")
    assert set(_kinds(rows)) == {"blue"}


def test_table_and_csv(run: Run, place: Path) -> None:
    done = run("select", 2, "--collection", place / "c")
    assert done.stdout.splitlines()[0].startswith("   1  ") and "stands for" in done.stdout
    done = run("select", 2, "--collection", place / "c", "--csv")
    assert [row["rank"] for row in csv.DictReader(io.StringIO(done.stdout))] == ["1", "2"]


@pytest.mark.parametrize("option", ["--links", "--copies"])
def test_a_folder_of_the_images(run: Run, place: Path, tmp_path: Path, option: str) -> None:
    rows = _chosen(run, place, 5)
    done = run("select", 5, "--collection", place / "c", option, "out")
    assert done.returncode == 0, done.stderr
    found = {file.name: file for file in (tmp_path / "out").iterdir()}
    assert set(found) == {f"{row['id']}-{Path(row['path']).name}" for row in rows}
    for row in rows:
        file = found[f"{row['id']}-{Path(row['path']).name}"]
        assert file.is_symlink() == (option == "--links")
        assert file.read_bytes() == Path(row["path"]).read_bytes()
    refused(run("select", 5, "--collection", place / "c", option, "out"), "not empty")


def test_there_and_back_by_label_studio_and_cvat(run: Run, place: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("path,label\nred/0.png,red\ngreen/0.png,green\n")
    done = run(
        "select", 6, "--collection", place / "c", "--labels", labels, "--label-studio", "t.json", "--cvat", "a.xml"
    )
    assert done.returncode == 0, done.stderr
    rows = {row["id"]: row for row in _chosen(run, place, 6, "--labels", labels)}
    tasks = json.loads((tmp_path / "t.json").read_text())
    assert {task["data"]["item"] for task in tasks} == set(rows)
    for task in tasks:  # a person agrees with all predictions
        task["annotations"] = [{"was_cancelled": False, **task.pop("predictions")[0]}]
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    for file in ("export.json", "a.xml"):
        again = _chosen(run, place, 3, "--labels", tmp_path / file)
        assert not {row["id"] for row in again} & set(rows)
        assert Counter(one.labels[0] for one in exported_labels(tmp_path / file)) == Counter(
            row["label"] for row in rows.values()
        )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((0,), ("select at least one",)),
        ((100,), ("100 images of 38 that can be chosen", "38 or fewer")),
        ((5, "--strategy", "best"), ("no such strategy", "typical")),
        ((5, "--strategy", "uncertain"), ("needs labels of two classes", "0 labels")),
        ((5, "--strategy", "uncertain", "--labels", "one.csv"), ("1 class of 2 labels",)),
        ((5, "--seed", "-1"), ("seed",)),
        ((5, "--name", "none*"), ("no image to choose from",)),
        ((5, "--folder", "nowhere"), ("nowhere", "nothing of it")),
        ((5, "--labels", "none.csv"), ("none.csv", "cannot be read")),
        ((5, "--labels", "elsewhere.csv"), ("no image of the collection has a label there",)),
        ((5, "--chosen", "none.csv"), ("--chosen none.csv", "cannot be read")),
        ((5, "--chosen", "strange.txt"), ("names no image of the collection",)),
        ((5, "--out", "list.xlsx"), (".csv, .json or .txt",)),
        ((5, "--out", "no/such/list.csv"), ("list.csv", "folder does not exist")),
        ((5, "--out", "folder.csv"), ("folder.csv", "a folder")),
        ((5, "--label-studio", "t.json", "--cvat", "t.xml"), ("t.xml", "written twice")),
        ((5, "--label-studio", "a.json"), ("a.xml", "exists", "would replace it")),
        ((5, "--out", "one.csv", "--labels", "one.csv"), ("one.csv", "read, too", "would be lost")),
        ((5, "--out", "one.csv", "--chosen", "one.csv"), ("one.csv", "read, too", "would be lost")),
        (
            (5, "--label-studio", "t.json", "--labels", "two.csv", "--classes", "z"),
            ("--classes: without", "which --labels has"),
        ),
        ((5, "--labels", "folders"), ("no image is left", "all 38")),
        ((5, "--chosen", "broken.json"), ("broken.json", "not JSON")),
        ((5, "--csv", "--json"), ("choose one",)),
        ((5, "--links", "a", "--copies", "b"), ("choose one",)),
        ((5, "--label-studio", "t.json", "--root", "elsewhere"), ("not below",)),
        ((5, "--label-studio", "t.xml"), (".json",)),
    ],
)
def test_refusals(run: Run, place: Path, tmp_path: Path, options: tuple, words: tuple[str, ...]) -> None:
    (tmp_path / "one.csv").write_text("path,label\nred/0.png,x\nred/1.png,x\n")
    (tmp_path / "elsewhere.csv").write_text("path,label\nother.png,x\n")
    (tmp_path / "two.csv").write_text("path,label\nred/0.png,x\nblue/1.png,y\n")
    (tmp_path / "strange.txt").write_text("other.png\n")
    (tmp_path / "broken.json").write_text('[{"path":')
    (tmp_path / "a.xml").write_text("<annotations/>")
    (tmp_path / "folder.csv").mkdir()
    done = run("select", *options, "--collection", place / "c")
    done.stderr = "".join(line for line in done.stderr.splitlines(True) if not line.startswith("left out"))
    refused(done, *words)
    assert not list(tmp_path.glob("t.*")) and (tmp_path / "a.xml").read_text() == "<annotations/>"


def test_an_empty_collection_and_a_file_that_is_gone(run: Run, place: Path, tmp_path: Path) -> None:
    Collection.create(tmp_path / "empty", place / "small.onnx").close()
    refused(run("select", 5, "--collection", tmp_path / "empty"), "no image to choose from")
    paint(tmp_path / "photos" / "a.png", 1)
    with Collection.create(tmp_path / "c", place / "small.onnx") as collection:
        collection.update([tmp_path / "photos"], workers=1)
    (tmp_path / "photos" / "a.png").unlink()
    refused(run("select", 1, "--collection", tmp_path / "c", "--copies", "out"), "a.png", "gone")
    assert not (tmp_path / "out").exists()


def test_pages_are_not_handed_over(run: Run, place: Path, tmp_path: Path) -> None:
    pages = [Image.new("RGB", (64, 64), colour) for colour in COLOURS.values()]
    (tmp_path / "pages").mkdir()
    pages[0].save(tmp_path / "pages" / "scan.tif", save_all=True, append_images=pages[1:])
    made = run("index", tmp_path / "pages", "--pages", "all", "--collection", "c", "--encoder", place / "small.onnx")
    assert made.returncode == 0, made.stderr
    for options in (["--links", "out"], ["--copies", "out"], ["--label-studio", "t.json"], ["--cvat", "a.xml"]):
        refused(run("select", 3, "--collection", "c", *options), "2 of the images are pages", "scan.tif")
    assert not list(tmp_path.glob("t.*")) and not (tmp_path / "out").exists()
    assert len(json.loads(run("select", 3, "--collection", "c", "--json").stdout)) == 3


def test_a_choice_is_read_back_from_all_that_it_was_written_as(run: Run, place: Path, tmp_path: Path) -> None:
    first = {row["id"] for row in _chosen(run, place, 5, "--out", "first.json")}
    _chosen(run, place, 5, "--out", "first.csv")
    _chosen(run, place, 5, "--out", "first.txt")
    lines = (tmp_path / "first.csv").read_text().splitlines()
    quoted = [",".join(f'"{cell}"' for cell in next(csv.reader([line]))) for line in lines]
    (tmp_path / "quoted.csv").write_text("\n".join(quoted))
    (tmp_path / "semicolons.csv").write_text("\n".join(";".join(next(csv.reader([line]))) for line in lines))
    seconds = [
        {row["id"] for row in _chosen(run, place, 5, "--chosen", name)}
        for name in ("first.json", "first.csv", "first.txt", "quoted.csv", "semicolons.csv")
    ]
    assert all(second == seconds[0] and not second & first for second in seconds)


def test_rounds_in_python(place: Path) -> None:
    with Collection.open(place / "c") as collection:
        first = collection.select(4)
        second = collection.select(4, chosen=first)
        assert {one.item.id for one in second} == {
            one.item.id for one in collection.select(4, chosen=[one.item for one in first])
        }
        assert not {one.item.id for one in first} & {one.item.id for one in second}
        assert collection.select(2, chosen=[2**70, -1]) == collection.select(2)
        wrong: dict[str, Any]
        for wrong in ({"chosen": ["a.jpg"]}, {"labels": {"1": "a"}}, {"seed": None}):
            with pytest.raises(TypeError):
                collection.select(2, **wrong)
