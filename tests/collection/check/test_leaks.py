"""Copies that were planted across splits are found, and their effect on the accuracy is that of numpy's own kNN."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from simsiam_retrieval import Collection
from simsiam_retrieval.collection.check.find_problems import find_problems
from simsiam_retrieval.collection.check.leaks import Split, find_leaks
from simsiam_retrieval.collection.check.report import as_json, leak_lines
from simsiam_retrieval.core.errors import UserError
from tests.support.commands import Run, refused, runner
from tests.support.small_encoder import paint, small_encoder

__all__ = ["run"]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(tmp_path, capsys, monkeypatch)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    folder = tmp_path_factory.mktemp("leaks")
    for number in range(12):
        paint(folder / "data" / "train" / "ab"[number % 2] / f"{number}.png", seed=number)
    for number in range(8):
        paint(folder / "data" / "test" / "ab"[number % 2] / f"t{number}.png", seed=100 + number)
    (folder / "data" / "test" / "a" / "copy.png").write_bytes((folder / "data" / "train" / "a" / "4.png").read_bytes())
    with Image.open(folder / "data" / "train" / "b" / "7.png") as image:
        image.resize((80, 60)).save(folder / "data" / "test" / "b" / "near.jpg", quality=90)
    collection = Collection.create(folder / "c", small_encoder(folder / "small.onnx"))
    collection.update([folder / "data"], workers=1)
    return collection


def _splits(collection: Collection) -> list[Split]:
    data = collection.roots[0]
    return [Split("train", data / "train"), Split("test", data / "test")]


def test_planted_copies_and_nothing_else(made: Collection) -> None:
    problems, [leaks] = find_leaks(made, _splits(made), threshold=0.99)
    assert [(Path(p.path).name, Path(p.other or "").name) for p in problems] == [
        ("copy.png", "4.png"),
        ("near.jpg", "7.png"),
    ]
    assert problems[0].reason == "in test and train, the same bytes" and problems[0].score == 1
    assert (leaks.images, leaks.leaked, leaks.exact, leaks.judged) == (10, 2, 1, 10)
    assert leaks.share == pytest.approx(0.2)


def test_accuracy_is_that_of_numpy(made: Collection) -> None:
    _, [leaks] = find_leaks(made, _splits(made), threshold=0.99)
    ids, vectors = made.vectors()
    items = {item.id: item for item in made}
    of = [items[id_].path for id_ in ids.tolist()]
    train = [row for row, path in enumerate(of) if "train" in path.parts]
    right = {}
    for row, path in enumerate(of):
        if row in train:
            continue
        votes = {"a": 0.0, "b": 0.0}
        for other in train:  # 12 training images: all are among the 20 nearest
            votes[of[other].parent.name] += float(np.exp(float(vectors[row] @ vectors[other]) / 0.1))
        right[path.name] = max(votes, key=votes.__getitem__) == path.parent.name
    without = [found for name, found in right.items() if name not in ("copy.png", "near.jpg")]
    assert leaks.accuracy == pytest.approx(np.mean(list(right.values())))
    assert leaks.accuracy_without == pytest.approx(np.mean(without))


def test_report_and_words(made: Collection) -> None:
    report = find_problems(made, ["leak"], threshold=0.99, splits=_splits(made))
    assert report.counts() == {"leak": 2}
    assert json.loads(as_json(report))["leaks"][0]["share"] == 0.2
    [line] = leak_lines(report)
    assert line.startswith("test: 2 of 10 images (20.0%) are in train, too, 1 with the same bytes; kNN accuracy ")


def test_labels_of_one_class_give_no_accuracy(made: Collection) -> None:
    labels = {item.id: "x" for item in made}
    _, [leaks] = find_leaks(made, _splits(made), threshold=0.99, labels=labels)
    assert (leaks.accuracy, leaks.accuracy_without, leaks.judged) == (None, None, 0)


def test_refusals(made: Collection) -> None:
    data = made.roots[0]
    train = Split("train", data / "train")
    for splits, words in (
        ([train], "two or more"),
        ([train, Split("test", data / "none", "./none")], "test=./none: nothing of it is indexed"),
        ([train, Split("all", data)], "all and train overlap"),
    ):
        with pytest.raises(UserError, match=words):
            find_leaks(made, splits, threshold=0.99)
    with pytest.raises(UserError, match="no threshold"):
        find_leaks(made, _splits(made))
    for text in ("train", "=x", "train="):
        with pytest.raises(UserError, match="NAME=FOLDER"):
            Split.parse(text)


def test_the_command(made: Collection, run: Run) -> None:
    data = made.roots[0]
    given = ["--splits", f"train={data / 'train'}", f"test={data / 'test'}"]
    done = run("check", "--collection", made.folder, "--kind", "leak", "--threshold", "0.99", *given)
    assert done.returncode == 0 and "leak: 2 (a copy of an image of another split, or nearly)" in done.stdout
    assert done.stdout.startswith("test: 2 of 10 images")
    refused(run("check", "--collection", made.folder, "--splits", "train"), "NAME=FOLDER")
