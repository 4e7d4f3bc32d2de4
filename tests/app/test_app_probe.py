"""The Linear probe page, without a browser."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simsiam_retrieval.app import settings  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.app.components.confusion_buttons import counted  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.app.pages import probe_page, probe_results  # pyright: ignore[reportMissingImports]
from streamlit.testing.v1 import AppTest

from simsiam_retrieval import Collection
from simsiam_retrieval.evaluation.probe_reports import FORMAT
from simsiam_retrieval.evaluation.stored_predictions import (
    Guesses,
    Predictions,
    Subject,
    predictions_file,
    save_predictions,
)
from simsiam_retrieval.metrics.intervals import wilson
from tests.support.app_pages import SECONDS, run, said

PAGE = "from simsiam_retrieval.app.pages import probe_page; probe_page.show()"
CLASSES = ["castles", "<b>fish", "galaxies"]
ROW = {"about": "encoder", "few_shot": [{"shots": 1, "top1": 0.3, "top1_interval": [0.2, 0.4], "draws": [0.3]}]}


def result(top1: float, **more: Any) -> dict[str, Any]:
    return {"top1": top1, "top1_interval": [top1 - 0.1, top1 + 0.1], **more}


def report(name: str, encoder: str, top1: float, **changes: Any) -> dict[str, Any]:
    results = {"knn-20": result(top1 - 0.05, k=20), "linear": result(top1, top5=0.987)}
    pixels = {"knn-20": result(0.31, k=20), "linear": result(0.222)}
    return {
        "format": FORMAT,
        "name": name,
        "encoder": encoder,
        "results": results,
        **ROW,
        "baselines": [{"name": "raw pixels", "encoder": "px", "about": "pixels", "results": pixels}],
        "train": "/data/train",
        "test": "/data/<i>val",
        "classes": 3,
        "train_images": 9469,
        "test_images": 3925,
        "data": {"train_fingerprint": "a", "test_fingerprint": "b"},
        "created": "2026-11-21T10:00:00",
        **changes,
    }


@pytest.fixture
def photo_paths(photos: Path) -> list[Path]:
    return sorted((photos / "castles").glob("*.jpg"))[:3] + sorted((photos / "fish").glob("*.jpg"))[:3]


@pytest.fixture
def root(tmp_path: Path, photo_paths: list[Path]) -> Path:
    """``first.json`` with predictions: of three castles and three fish, one castle and two fish are misread."""
    root = tmp_path / "runs"
    root.mkdir()
    (root / "first.json").write_text(json.dumps(report("first", "e1" * 8, 0.5)))
    linear = Guesses(np.array([0, 0, 1, 1, 0, 0], np.int32), np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.95], np.float16))
    knn = Guesses(np.zeros(6, np.int32), np.full(6, 0.5, np.float16))
    subjects = [
        Subject("first", "e1" * 8, {"knn-20": knn, "linear": linear}),
        Subject("raw pixels", "px", {"linear": knn}),
    ]
    save_predictions(
        root / "first.json", Predictions(CLASSES, photo_paths, np.array([0, 0, 0, 1, 1, 1], np.int32), subjects)
    )
    return root


def page(root: Path, collection: Path = Path("nowhere")) -> AppTest:
    settings.use(settings.Settings(collection, root))
    return run(AppTest.from_string(PAGE, default_timeout=SECONDS))


def component(test: AppTest, key: str) -> dict[str, Any]:
    """What the component was given whose data has ``key``."""
    return next(json.loads(one.proto.json) for one in test.get("bidi_component") if key in json.loads(one.proto.json))


def pictures(test: AppTest) -> list[str]:
    return [one["name"] for one in component(test, "sections")["sections"][0]["pictures"]]


def test_accuracy_stands_beside_its_baselines_with_intervals(root: Path) -> None:
    test = page(root)
    text = said(test)
    for expected in (
        "first (e1e1e1e1)",
        "raw pixels",
        "kNN k=20",
        "linear",
        "<strong>50.0 <small>± 10.0</small></strong><br><small>top-5 98.7</small>",
        "22.2 <small>± 10.0</small>",
        "3,925 test images (/data/&lt;i&gt;val)",
    ):
        assert expected in text
    assert "<i>val" not in text and "<b>fish" not in text
    assert len(test.get("vega_lite_chart")) == 1
    run(test.multiselect[0].set_value(["raw pixels"]))
    assert "50.0" not in said(test) and not test.get("vega_lite_chart")
    run(test.multiselect[0].set_value([]))
    assert "at least one" in said(test)


def test_classes_and_the_matrix_are_counted(root: Path) -> None:
    test = page(root)
    low, high = wilson(2, 3)
    assert f"66.7 <small>{100 * low:.0f} – {100 * high:.0f}</small>" in said(test)  # castles
    matrix = component(test, "counts")
    assert matrix["counts"] == [[2, 1, 0], [2, 1, 0], [0, 0, 0]]
    assert matrix["classes"] == CLASSES
    assert matrix["chosen"] == [1, 0]  # the most frequent confusion
    run(test.selectbox[0].set_value("raw pixels"))
    assert component(test, "counts")["counts"] == [[3, 0, 0], [3, 0, 0], [0, 0, 0]]
    run(test.button_group[0].set_value("knn-20"))  # which the pixels' predictions lack
    assert component(test, "counts")["counts"] == [[3, 0, 0], [3, 0, 0], [0, 0, 0]]
    assert not test.selectbox


def test_counting_is_a_loop() -> None:
    rng = np.random.default_rng(0)
    truth, guess = rng.integers(0, 5, (2, 300)).astype(np.int32)
    expected = np.zeros((5, 5), int)
    for one, other in zip(truth, guess, strict=True):
        expected[one, other] += 1
    assert (counted(truth, guess, 5) == expected).all()


def test_a_cell_shows_its_images_the_surest_first(root: Path, photo_paths: list[Path], collection_dir: Path) -> None:
    test = page(root, collection_dir)
    assert pictures(test) == [photo_paths[5].name, photo_paths[4].name]  # fish taken for castles
    section = component(test, "sections")["sections"][0]
    assert section["heading"] == "<b>fish, taken for castles: 2 images"  # travels as data, is set as text
    with Collection.open(collection_dir) as collection:
        item = collection.item_at(photo_paths[5])
    assert item is not None and section["pictures"][0]["link"] == f"./?image={item.id}"
    assert [one["badge"] for one in section["pictures"]] == ["95 %", "50 %"]
    test.query_params["cell"] = "0-0"
    run(test)
    assert pictures(test) == [photo_paths[0].name, photo_paths[1].name]
    assert component(test, "sections")["sections"][0]["heading"] == "castles, recognised: 2 images"
    for nonsense in ("", "x", "0", "0-9", "9-0", "-1-0", "0-99999999999999999999"):
        test.query_params["cell"] = nonsense
        assert pictures(run(test)) == [photo_paths[5].name, photo_paths[4].name]


def test_images_outside_the_collection_are_shown_without_a_link(
    root: Path, photo_paths: list[Path], tmp_path: Path
) -> None:
    there = Path(shutil.copy(photo_paths[0], tmp_path / "there.jpg"))
    guesses = {"linear": Guesses(np.zeros(2, np.int32), np.array([0.9, 0.8], np.float16))}
    save_predictions(
        root / "first.json",
        Predictions(
            CLASSES, [there, tmp_path / "gone.jpg"], np.ones(2, np.int32), [Subject("first", "e1" * 8, guesses)]
        ),
    )
    shown = component(page(root), "sections")["sections"][0]["pictures"]
    assert [(one["name"], one["link"], bool(one["source"])) for one in shown] == [
        ("there.jpg", "", True),
        ("gone.jpg", "", False),
    ]
    assert "gone" in shown[1]["notes"][0]


def test_many_classes_are_a_list_of_pairs(root: Path, monkeypatch: pytest.MonkeyPatch, photo_paths: list[Path]) -> None:
    monkeypatch.setattr(probe_page, "MATRIX", 2)
    test = page(root)
    assert test.selectbox[1].options == ["<b>fish → castles: 2", "castles → <b>fish: 1"]
    run(test.selectbox[1].set_value((0, 1)))
    assert pictures(test) == [photo_paths[2].name]


def test_of_one_encoder_the_newest_counts_and_data_sets_are_apart(root: Path) -> None:
    (root / "mine" / "eval").mkdir(parents=True)
    (root / "mine" / "config.json").write_text("{}")
    (root / "mine" / "metrics.jsonl").write_text("")
    older = report("mine", "e2" * 8, 0.111, created="2026-11-20")
    newer = report("mine", "e2" * 8, 0.777, created="2026-11-22")
    (root / "mine" / "eval" / "a.json").write_text(json.dumps(newer))
    (root / "mine" / "eval" / "b.json").write_text(json.dumps(older))
    other = {"train_fingerprint": "c", "test_fingerprint": "d"}
    (root / "mine" / "eval" / "c.json").write_text(json.dumps(report("mine", "e2" * 8, 0.6, data=other)))
    questions = probe_results.find_questions(root)
    assert [len(question.measured) for question in questions] == [3, 2]
    assert len({question.name for question in questions}) == 2
    test = page(root)
    text = said(test)
    assert "77.7" in text and "50.0" in text and "11.1" not in text
    run(test.selectbox[0].set_value(questions[1].name))
    assert "60.0" in said(test) and "77.7" not in said(test)
    assert "do not say what each image was taken for" in said(test)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "3",
        '{"format": "other"}',
        json.dumps({"format": FORMAT}),
        json.dumps(report("x", "y", 0.5) | {"results": 3}),
    ],
)
def test_what_is_no_report_is_passed_over(root: Path, content: str) -> None:
    (root / "odd.json").write_text(content)
    assert len(probe_results.find_questions(root)) == 1
    (root / "first.json").unlink()
    text = said(page(root))
    assert "no probe results" in text and "simsiam_retrieval.probe RUN" in text


def test_damaged_predictions_are_told(root: Path) -> None:
    predictions_file(root / "first.json").write_bytes(b"PK\x03\x04 cut off")
    text = said(page(root))
    assert "damaged; run probe again" in text and "50.0" in text


def test_a_name_that_is_html_is_text(root: Path) -> None:
    (root / "first.json").write_text(json.dumps(report("<img src=x onerror=alert(1)>", "e1" * 8, 0.5)))
    text = said(page(root))
    assert "<img src=x" not in text and "&lt;img src=x onerror=alert(1)&gt; (e1e1e1e1)" in text
