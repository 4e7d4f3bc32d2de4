"""The Teach page, without a browser."""

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from simsiam_retrieval.app import collection_snapshot, settings  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.app.components import marks  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.app.pages import teach_page, teach_ranking, teach_results  # pyright: ignore[reportMissingImports]
from streamlit.testing.v1 import AppTest

from simsiam_retrieval import Collection
from simsiam_retrieval.collection.explore.few_shot_classifier import CrossValidation, LinearProbe
from simsiam_retrieval.collection.update.index_folders import index_folders
from simsiam_retrieval.metrics.intervals import wilson

SECONDS = 60
PAGE = "from simsiam_retrieval.app.pages import teach_page; teach_page.show()"


@pytest.fixture(autouse=True)
def own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "_current", None)


@pytest.fixture
def own_collection(collection_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(collection_dir, tmp_path / "own"))


def page(folder: Path) -> AppTest:
    settings.use(settings.Settings(folder, Path("nowhere")))
    return run(AppTest.from_string(PAGE, default_timeout=SECONDS))


def run(something: Any) -> AppTest:
    test = something.run()
    assert not test.exception and not test.warning
    return test


def said(test: AppTest) -> str:
    return "\n".join(element.value for element in test.html)


def sent(test: AppTest, key: str) -> dict[str, Any] | None:
    found = [json.loads(element.proto.json) for element in test.get("bidi_component")]
    return next((data for data in found if key in data), None)


def board(test: AppTest) -> dict[str, Any]:
    found = sent(test, "tiles")
    assert found is not None
    return found


def button(test: AppTest, label: str):
    return next(one for one in test.button if one.label.startswith(label))


def kinds(folder: Path) -> dict[int, str]:
    with Collection.open(folder) as collection:
        return {item.id: item.path.parent.name for item in collection}


def label(folder: Path, per_kind: int, names: tuple[str, ...]) -> dict[int, str]:
    """Label the first images of some folders with the folders' names."""
    labels = {}
    for name in names:
        ids = [id_ for id_, kind in kinds(folder).items() if kind == name]
        labels.update(dict.fromkeys(ids[:per_kind], name))
    with Collection.open(folder) as collection:
        collection.set_labels(labels)
    return labels


# -- classes and labels


def test_the_beginning_says_what_to_do_and_shows_a_varied_choice(own_collection: Path) -> None:
    test = page(own_collection)
    assert "Name a class above" in said(test) and "0 of " in said(test) and "Nothing yet" in said(test)
    shown = board(test)["tiles"]
    assert len(shown) == teach_page.SHOWN and all(tile["label"] is None for tile in shown)
    run(test.text_input[0].set_value("  sea & <b>sand "))
    assert [one["name"] for one in board(test)["classes"]] == ["sea & <b>sand"]
    assert board(test)["active"] == "sea & <b>sand" and test.text_input[0].value == ""
    assert [tile["id"] for tile in board(test)["tiles"]] == [tile["id"] for tile in shown]
    run(test.text_input[0].set_value("   "))
    assert len(board(test)["classes"]) == 1


def test_labels_of_others_are_shown(own_collection: Path) -> None:
    test = page(own_collection)
    ids = [tile["id"] for tile in board(test)["tiles"]]
    with Collection.open(own_collection) as collection:
        collection.set_labels({ids[0]: "a", ids[1]: "b"})  # by another visitor
    run(test)
    tiles = {tile["id"]: tile["label"] for tile in board(test)["tiles"]}
    assert tiles[ids[0]] == "a" and tiles[ids[1]] == "b" and "2 of " in said(test)


def test_undo_and_rename_leave_what_another_tab_changed_meanwhile(own_collection: Path) -> None:
    label(own_collection, 2, ("fish",))
    with Collection.open(own_collection) as collection:
        before = collection.labels()
        test = page(own_collection)
        run(button(test, "Label them").click())
        given = {id_: name for id_, name in collection.labels().items() if id_ not in before}
        first, *others = given
        collection.set_labels({first: "theirs"})
        test = run(button(test, "Undo").click())
        assert collection.labels() == {**before, first: "theirs"} and others
        assert "1 labels were changed elsewhere" in said(test)
        test = page(own_collection)
        run(next(box for box in test.selectbox if box.label == "Class").set_value("fish"))
        new = next(one for one in test.text_input if one.label == "New name")
        run(new.set_value("fishes"))
        collection.set_labels({next(iter(before)): "theirs"})
        run(button(test, "Rename").click())
        assert sorted(collection.labels().values()) == ["fishes", "theirs", "theirs"]


def mark(label: object, number: int = 7) -> dict[str, object]:
    return {"number": number, "name": label, "content": "c"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"5": mark("cat"), "6": mark(None)}, {5: ("cat", "c"), 6: (None, "c")}),
        ({"5": mark("no class")}, {}),
        ({"-5": mark("cat"), "x": mark("cat"), "": mark(None), "9" * 30: mark("cat"), "１": mark("cat")}, {}),
        ({"5": mark(3), "6": mark(["cat"]), "7": "cat", "8": ["cat"], "9": mark("cat") | {"content": 5}}, {}),
        ({"5": mark("cat") | {"number": "7"}, "6": {"number": 7}, "7": mark("cat") | {"number": None}}, {}),
        ({"5": mark("cat", 3), "6": mark("cat", 4)}, {6: ("cat", "c")}),
        (["5"], {}),
        (None, {}),
        ("x", {}),
        ({str(number): mark("cat") for number in range(5000)}, {}),
    ],
)
def test_nonsense_from_a_browser_marks_nothing(value: object, expected: dict) -> None:
    number = 7 if isinstance(value, dict) and len(value) < 5000 else 0
    assert marks.read({"number": 7, "marks": value}, {"cat"}, 3) == (number, expected)
    for message in (value, {"number": "7", "marks": {"5": mark("cat")}}, {"marks": {"5": mark("cat")}}):
        assert marks.read(message, {"cat"}) == (0, {})


def test_a_click_on_a_tile_of_another_image_labels_nothing(own_collection: Path) -> None:
    """The page was drawn from another collection, which has other images under the same ids."""
    test = page(own_collection)
    [first, second, *_] = board(test)["tiles"]
    with Collection.open(own_collection) as collection:
        wrong = {second["id"]: marks.Mark("cat", second["content"]), first["id"]: marks.Mark("cat", second["content"])}
        script = f"""
from simsiam_retrieval.app.components.marks import Mark
from simsiam_retrieval.app.open_collection import open_collection
from simsiam_retrieval.app.pages import teach_labels
from pathlib import Path
import streamlit as st
clicks = { {id_: tuple(one) for id_, one in wrong.items()} }
teach_labels.mark_clicked(open_collection(Path({str(own_collection)!r})), clicks)
"""
        script = script.replace("('cat', ", "Mark('cat', ")
        run(AppTest.from_string(script + PAGE, default_timeout=SECONDS))
        assert collection.labels() == {second["id"]: "cat"}


def test_labels_survive_a_process_that_is_killed(own_collection: Path) -> None:
    id_ = next(iter(kinds(own_collection)))
    code = f"""
import os, signal
from simsiam_retrieval import Collection
from simsiam_retrieval.app.pages import teach_labels
collection = Collection.open({str(own_collection)!r})
teach_labels.store(collection, {{{id_}: "kept", 987654: "nobody"}})
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=SECONDS, check=False)
    assert done.returncode == -9
    with Collection.open(own_collection) as collection:
        assert collection.labels() == {id_: "kept"}


def test_folder_names_can_be_labels_and_undone(own_collection: Path) -> None:
    label(own_collection, 1, ("fish",))
    test = page(own_collection)
    run(button(test, "Label them").click())
    with Collection.open(own_collection) as collection:
        assert collection.labels() == kinds(own_collection)
    run(button(test, "Undo").click())
    with Collection.open(own_collection) as collection:
        assert list(collection.labels().values()) == ["fish"]
    assert button(test, "Undo").disabled


def test_classes_can_be_renamed_joined_and_removed(own_collection: Path) -> None:
    labels = label(own_collection, 3, ("fish", "castles"))
    test = page(own_collection)
    box = next(box for box in test.selectbox if box.label == "Class")
    run(box.set_value("fish"))
    run(next(one for one in test.text_input if one.label == "New name").set_value("castles"))
    run(button(test, "Rename").click())
    with Collection.open(own_collection) as collection:
        assert collection.labels() == dict.fromkeys(labels, "castles")
    run(button(test, "Remove, with its 6 labels").click())
    with Collection.open(own_collection) as collection:
        assert collection.labels() == {}


def test_a_collection_that_cannot_be_written_is_told(own_collection: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from simsiam_retrieval import UserError

    def refuse(self: Collection, labels: object) -> None:
        raise UserError("no permission to write there")

    test = page(own_collection)
    monkeypatch.setattr(Collection, "set_labels", refuse)
    run(button(test, "Label them").click())
    assert "no permission to write there" in said(test)


# -- what the probe says


def test_two_classes_train_the_probe_and_its_numbers_are_right(own_collection: Path) -> None:
    names = ("fish", "castles", "windmills")
    labels = label(own_collection, 6, names)
    test = page(own_collection)
    with Collection.open(own_collection) as collection:
        images = collection_snapshot.whole(collection)
        lesson = collection_snapshot.taught(images, labels)
        assert lesson is not None and lesson.checked is not None
        low, high = wilson(lesson.checked.hits, 18)
    text = said(test)
    assert f"{lesson.checked.hits / 18:.0%}" in text and f"{low:.0%} – {high:.0%}" in text and "33%" in text
    assert "5-fold cross-validation with 18 labelled images" in text
    matrix = sent(test, "counts")
    assert matrix is not None and matrix["classes"] == sorted(names)
    assert matrix["counts"] == lesson.checked.confusion.tolist() and np.sum(matrix["counts"]) == 18
    wrong = {f"{a},{b}" for a in range(3) for b in range(3) if a != b and matrix["counts"][a][b]}
    assert set(matrix["faces"]) == wrong

    # the least sure come first, none of them labelled, each with what the probe says
    shown = board(test)["tiles"]
    margins = np.sort(lesson.probabilities, axis=1)
    margins = margins[:, -1] - margins[:, -2]
    unlabelled = [row for row, id_ in enumerate(images.ids.tolist()) if id_ not in labels]
    expected = sorted(unlabelled, key=lambda row: margins[row])[: teach_page.SHOWN]
    assert [tile["id"] for tile in shown] == images.ids[expected].tolist()
    best = lesson.probabilities[expected[0]]
    assert shown[0]["note"] == f"{lesson.probe.classes[best.argmax()]} {best.max():.0%}"


def test_lists_by_prediction_misread_and_labelled(own_collection: Path) -> None:
    labels = label(own_collection, 6, ("fish", "castles", "windmills"))
    test = page(own_collection)
    with Collection.open(own_collection) as collection:
        images = collection_snapshot.whole(collection)
        lesson = collection_snapshot.taught(images, labels)
    assert lesson is not None and lesson.checked is not None

    run(test.button_group[0].set_value("Predicted"))
    run(next(box for box in test.selectbox if box.label == "Taken for").set_value("windmills"))
    number = lesson.probe.classes.index("windmills")
    shown = [images.rows([tile["id"]])[0] for tile in board(test)["tiles"]]
    assert shown and all(lesson.predicted[row] == number for row in shown)
    sure = lesson.probabilities[shown, number].tolist()
    assert sure == sorted(sure, reverse=True)
    ids = images.ids[shown].tolist()
    run(button(test, "All are windmills").click())
    with Collection.open(own_collection) as collection:
        assert collection.labels() == labels | dict.fromkeys(ids, "windmills")
    assert [tile["id"] for tile in board(test)["tiles"]] == ids  # nothing moves below the pointer
    run(button(test, "Show the next ones").click())
    assert not set(ids) & {tile["id"] for tile in board(test)["tiles"]}
    run(button(test, "Undo").click())

    run(test.button_group[0].set_value("Likely mistakes"))
    checked = lesson.checked
    wrong = lesson.rows[checked.rows[checked.truth != checked.predicted]]
    assert sorted(tile["id"] for tile in board(test)["tiles"]) == images.ids[wrong].tolist()
    assert all(tile["note"].startswith("read as ") for tile in board(test)["tiles"])
    a, b = np.argwhere(checked.confusion - np.diag(checked.confusion.diagonal()))[0]
    test.session_state["teach cell"] = (checked.classes[a], checked.classes[b])  # a click on that cell
    run(test)
    assert len(board(test)["tiles"]) == checked.confusion[a, b]
    assert {tile["label"] for tile in board(test)["tiles"]} == {checked.classes[a]}
    assert {tile["note"] for tile in board(test)["tiles"]} == {f"read as {checked.classes[b]}"}

    run(test.button_group[0].set_value("Labelled"))
    assert [tile["label"] for tile in board(test)["tiles"]] == sorted(labels.values())
    assert test.session_state["teach cell"] is None


def test_seen_images_come_last(own_collection: Path) -> None:
    label(own_collection, 4, ("fish", "castles"))
    test = page(own_collection)
    first = [tile["id"] for tile in board(test)["tiles"]]
    run(button(test, "Show the next ones").click())
    assert not set(first) & {tile["id"] for tile in board(test)["tiles"]}


def test_one_class_or_single_images_say_what_is_missing(own_collection: Path) -> None:
    label(own_collection, 3, ("fish",))
    assert "as soon as two classes have a labelled image" in said(page(own_collection))
    label(own_collection, 1, ("castles",))
    test = page(own_collection)
    assert "once two classes have two labelled images each" in said(test) and sent(test, "counts") is None
    run(test.button_group[0].set_value("Likely mistakes"))
    assert "Two classes need two labelled images each" in said(test)


def test_names_of_classes_are_text(own_collection: Path) -> None:
    odd = ("<img src=x onerror=alert(1)>", "**x** :smile: $y$ [z](http://a)")
    ids = list(kinds(own_collection))
    with Collection.open(own_collection) as collection:
        collection.set_labels({ids[0]: odd[0], ids[1]: odd[0], ids[2]: odd[1], ids[3]: odd[1]})
    test = page(own_collection)
    run(test.button_group[0].set_value("Predicted"))
    run(next(box for box in test.selectbox if box.label == "Taken for").set_value(odd[1]))
    assert "<img src=x" not in said(test)
    labels = [one.label for one in test.button if one.label.startswith("All are")]
    assert labels == [] or "\\*\\*x\\*\\*" in labels[0]


def test_without_images_the_page_says_what_to_type(encoder_file: Path, tmp_path: Path) -> None:
    Collection.create(tmp_path / "empty", encoder_file).close()
    assert "python -m simsiam_retrieval.index FOLDER" in said(page(tmp_path / "empty"))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_small_collections_can_be_taught(encoder_file: Path, few_photos: Path, tmp_path: Path, count: int) -> None:
    (tmp_path / "photos").mkdir()
    for photo in sorted(few_photos.rglob("*.jpg"))[:count]:
        shutil.copy(photo, tmp_path / "photos")
    index_folders([tmp_path / "photos"], tmp_path / "collection", str(encoder_file), workers=0)
    test = page(tmp_path / "collection")
    assert len(board(test)["tiles"]) == count
    with Collection.open(tmp_path / "collection") as collection:
        collection.set_labels({item.id: item.path.name for item in collection})
    run(test)
    assert f"{count} of {count} image" in said(test)


def test_undo_knows_another_collection_in_the_same_place(
    own_collection: Path, few_photos: Path, encoder_file: Path
) -> None:
    test = page(own_collection)
    run(button(test, "Label them").click())
    assert not button(test, "Undo").disabled
    shutil.rmtree(own_collection)
    assert "not a collection" in said(run(test))
    index_folders([few_photos], own_collection, str(encoder_file), workers=0)
    run(test)
    assert "0 of 38 images" in said(test) and button(test, "Undo").disabled


def test_a_new_generation_is_learnt_from_without_a_restart(own_collection: Path) -> None:
    label(own_collection, 4, ("fish", "castles"))
    test = page(own_collection)
    gone = board(test)["tiles"][0]["path"]
    with Collection.open(own_collection) as collection:
        collection.remove([gone])
    run(test)
    assert gone not in {tile["path"] for tile in board(test)["tiles"]}


# -- to take away


def test_tables_and_probe_can_be_taken_away(own_collection: Path) -> None:
    labels = label(own_collection, 5, ("fish", "castles"))
    with Collection.open(own_collection) as collection:
        images = collection_snapshot.whole(collection)
        lesson = collection_snapshot.taught(images, labels)
        assert lesson is not None
        path = {item.id: str(item.path) for item in collection}
        content = lesson.probe.as_onnx(collection.encoder_identity)
    rows = list(csv.reader(io.StringIO(teach_results.labels_csv(images, labels).decode())))
    assert rows[0] == ["path", "label"]
    assert dict(rows[1:]) == {path[id_]: name for id_, name in labels.items()}

    rows = list(csv.DictReader(io.StringIO(teach_results.predictions_csv(images, labels, lesson).decode())))
    assert {row["path"]: row["label"] for row in rows} == {path[id_]: labels.get(id_, "") for id_ in path}
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    found = np.asarray(session.run(["probabilities"], {"vectors": images.vectors})[0])
    by_path = {path[id_]: found[row] for row, id_ in enumerate(images.ids.tolist())}
    for row in rows:
        assert row["predicted"] == lesson.probe.classes[by_path[row["path"]].argmax()]
        assert float(row["probability"]) == pytest.approx(by_path[row["path"]].max(), abs=1e-4)
    test = page(own_collection)
    assert re.findall(r"download=[^>]*>([^<]*)<", said(test)) == [
        "Labels as CSV",
        "Predictions as CSV",
        "Probe as ONNX",
    ]


# -- ranking


def test_misread_and_labelled_rows() -> None:
    probe = LinearProbe(("a", "b"), np.zeros((2, 2), np.float32), np.zeros(2, np.float32))
    checked = CrossValidation(("a", "b"), np.array([0, 1, 3]), np.array([0, 0, 1]), np.array([1, 0, 0]), 2)
    lesson = collection_snapshot.Taught(
        np.array([10, 20, 30, 40]), ["a", "a", "c", "b"], probe, np.zeros((50, 2), np.float32), checked
    )
    assert teach_ranking.misread(lesson).tolist() == [10, 40]
    assert teach_ranking.misread(lesson, (1, 0)).tolist() == [40] and teach_ranking.misread(
        lesson, (0, 0)
    ).tolist() == [20]
    assert teach_ranking.labelled([10, 20, 30], ["b", "a", "b"], None) == [20, 10, 30]
    assert teach_ranking.labelled([10, 20, 30], ["b", "a", "b"], "b") == [10, 30]
