"""Labels that were flipped are named first, with the neighbours that speak against them; cleanlab's joint by hand."""

from pathlib import Path

import numpy as np
import pytest

from simsiam_retrieval import Collection
from simsiam_retrieval.collection.check.find_problems import find_problems
from simsiam_retrieval.collection.check.label_errors import _confident, find_label_errors
from simsiam_retrieval.collection.labelling.read_labels import read_labels
from simsiam_retrieval.core.errors import UserError
from tests.support.small_encoder import paint, small_encoder


def _clumps(rows: int = 120, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    truth = np.arange(rows) % classes
    vectors = generator.normal(size=(classes, 24))[truth] + 0.5 * generator.normal(size=(rows, 24))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), truth


def test_flipped_labels_come_first_and_the_class_that_they_are_of_is_named() -> None:
    vectors, truth = _clumps()
    labels, flipped = truth.copy(), [3, 40, 77, 101]
    labels[flipped] = (truth[flipped] + 1) % 3
    found = find_label_errors(vectors, [f"c{label}" for label in labels])
    assert set(np.argsort(-found.score)[:4]) == set(flipped)
    assert found.likely[flipped].tolist() == truth[flipped].tolist()
    assert set(np.flatnonzero(found.confident)) <= set(flipped) and found.confident.sum() >= 3
    assert (found.score[flipped] > 0.5).all() and (np.delete(found.score, flipped) < 0.5).all()
    assert (labels[found.nearest[flipped]] == truth[flipped]).all()
    assert found.votes.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_the_confident_joint_of_a_small_example() -> None:
    probabilities = np.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8], [0.4, 0.6], [0.3, 0.7]], np.float32)
    truth = np.array([0, 0, 0, 1, 1])
    # mean probabilities of the own class: (0.9 + 0.5 + 0.2) / 3 = 0.533 and (0.6 + 0.7) / 2 = 0.65
    assert _confident(probabilities, truth).tolist() == [False, False, True, False, False]


def test_a_class_with_one_image_is_left_out() -> None:
    vectors, truth = _clumps(30)
    labels = ["alone", *[f"c{label}" for label in truth[1:]]]
    found = find_label_errors(vectors, labels)
    assert found.classes == ("c0", "c1", "c2") and 0 not in found.rows


@pytest.mark.parametrize("labels", [["a"] * 4, ["a", "b", "c", "d"], ["a", "a", "b", "c"]])
def test_fewer_than_two_classes_of_two(labels: list[str]) -> None:
    with pytest.raises(UserError, match="two such classes"):
        find_label_errors(_clumps(4)[0], labels)


def test_a_picture_in_the_wrong_folder(tmp_path: Path) -> None:
    for kind in range(2):
        for number in range(8):
            file = paint(tmp_path / "photos" / "ab"[kind] / f"{number}.png", seed=kind)
            file.write_bytes(paint(file, seed=kind, size=(40 + number, 30)).read_bytes())
    (tmp_path / "photos" / "a" / "7.png").rename(tmp_path / "photos" / "b" / "wrong.png")
    with Collection.create(tmp_path / "c", small_encoder(tmp_path / "small.onnx")) as collection:
        collection.update([tmp_path / "photos"], workers=1)
        labels = read_labels(collection, "folders")
        [problem] = find_problems(collection, ["label error"], labels=labels).problems
        assert Path(problem.path).name == "wrong.png" and problem.other is not None
        assert "labelled b; a probe says a" in problem.reason and Path(problem.other).parent.name == "a"

        with pytest.raises(UserError, match="--labels app: no image"):
            read_labels(collection, "app")
        table = tmp_path / "labels.csv"
        table.write_text("path,label\nphotos/a/0.png,x\nphotos/b/1.png,y\nnone.png,z\n")
        assert sorted(read_labels(collection, str(table)).values()) == ["x", "y"]
        table.write_text("file,class\na,b\n")
        for bad in (table, tmp_path / "none.csv"):
            with pytest.raises(UserError, match="--labels"):
                read_labels(collection, str(bad))
