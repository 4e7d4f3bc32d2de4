"""The Check page, and the button that selects what to label, without a browser."""

import csv
import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from simsiam_retrieval.app import settings  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.app.pages import check_page, selecting  # pyright: ignore[reportMissingImports]
from streamlit.testing.v1 import AppTest

from simsiam_retrieval import Collection
from simsiam_retrieval.collection.check.find_problems import find_problems
from tests.app.test_app import SECONDS, run, said

PAGE = "from simsiam_retrieval.app.pages import {page} as page; page.show()"


@pytest.fixture(autouse=True)
def own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "_current", None)


@pytest.fixture
def own_collection(collection_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(collection_dir, tmp_path / "own"))


def page(folder: Path, name: str = "check_page") -> AppTest:
    settings.use(settings.Settings(folder, Path("nowhere")))
    return run(AppTest.from_string(PAGE.format(page=name), default_timeout=SECONDS))


def grid(test: AppTest) -> dict[str, Any]:
    found = [json.loads(element.proto.json) for element in test.get("bidi_component")]
    return next((data for data in found if "tiles" in data), {"tiles": []})


def button(test: AppTest, label: str):
    return next(one for one in test.button if one.label.startswith(label))


def names(test: AppTest) -> list[str]:
    return [tile["name"] for tile in grid(test)["tiles"]]


def expected(folder: Path, kind: str, fence: float = 1.5) -> list[str]:
    with Collection.open(folder) as collection:
        found = find_problems(collection, [kind], fence=fence).problems
    return [Path(problem.path).name for problem in found if not problem.fine]


def test_kinds_with_counts_and_the_images_of_one(own_collection: Path) -> None:
    test = page(own_collection)
    kinds = test.button_group[0]
    counts = {label.partition(" · ")[0]: label.partition(" · ")[2] for label in kinds.options}
    assert counts["dark"] == str(len(expected(own_collection, "dark"))) and counts["near-duplicate"] == ""
    run(kinds.set_value("dark"))
    assert names(test) == expected(own_collection, "dark")
    assert "below" in grid(test)["tiles"][0]["note"] and "Even the brightest part is dark" in said(test)


def test_the_slider_shows_more_and_fewer(own_collection: Path) -> None:
    test = page(own_collection)
    run(test.button_group[0].set_value("plain"))
    run(test.slider[0].set_value(test.slider[0].min))
    assert names(test) == expected(own_collection, "plain", test.slider[0].min)[: len(names(test))]
    many = len(names(test))
    run(test.slider[0].set_value(test.slider[0].max))
    assert len(names(test)) < many


def test_what_is_fine_is_kept_and_can_be_taken_back(own_collection: Path) -> None:
    test = page(own_collection)
    run(test.button_group[0].set_value("dark"))
    before = names(test)
    run(button(test, f"All {len(before)} are fine").click())
    assert names(test) == [] and expected(own_collection, "dark") == []
    run(test.toggle[0].set_value(True))
    assert names(test) == before
    run(button(test, f"All {len(before)} are not fine").click())
    assert expected(own_collection, "dark") == before


def test_near_duplicates_and_labels_are_looked_for_on_request(own_collection: Path) -> None:
    test = page(own_collection)
    run(test.button_group[0].set_value("label error"))
    assert names(test) and "labelled" in grid(test)["tiles"][0]["note"]
    run(test.button_group[1].set_value("app"))
    assert "No image has a label there" in said(test)


def test_an_empty_collection(encoder_file: Path, tmp_path: Path) -> None:
    Collection.create(tmp_path / "empty", encoder_file).close()
    assert "holds no images yet" in said(page(tmp_path / "empty"))


# -- selecting


def _selected(test: AppTest) -> list[int]:
    return [one.item.id for one in test.session_state[selecting.CHOICE][1]]


def test_selecting_on_the_teach_page(own_collection: Path) -> None:
    test = page(own_collection, "teach_page")
    test.number_input(key="select count").set_value(12)
    run(button(test, "Select").click())
    with Collection.open(own_collection) as collection:
        assert _selected(test) == [one.item.id for one in collection.select(12)]
    assert [tile["id"] for tile in grid(test)["tiles"]] == _selected(test)
    assert "12 images selected, the most useful first; 12 without a label" in said(test)


def test_a_strategy_that_needs_labels_says_so(own_collection: Path) -> None:
    test = page(own_collection, "teach_page")
    test.selectbox(key="select strategy").set_value("uncertain")
    run(button(test, "Select").click())
    assert "needs labels of two classes" in said(test)


def test_files_for_labelling_programs(collection_dir: Path) -> None:
    with Collection.open(collection_dir) as collection:
        found = collection.select(5)
    root = selecting._root(found)
    with zipfile.ZipFile(io.BytesIO(selecting._label_studio(found, ["a"], root))) as archive:
        tasks = json.loads(archive.read("tasks.json"))
        assert 'value="a"' in archive.read("tasks.xml").decode()
    assert [task["data"]["path"] for task in tasks] == [str(one.path) for one in found]
    with zipfile.ZipFile(io.BytesIO(selecting._cvat(found, ["a"], root))) as archive:
        assert archive.read("annotations.xml").decode().count("<image ") == 5
        assert json.loads(archive.read("annotations.labels.json"))[0]["name"] == "a"
    assert list(csv.DictReader(io.StringIO(check_page.as_csv([])))) == []
