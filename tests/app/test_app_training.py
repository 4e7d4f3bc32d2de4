"""The Training page, without a browser: runs side by side, verdicts, views. Single runs are in test_app.py."""

import base64
import io
import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from simsiam_retrieval.app import settings  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.app.components.charts import PALETTE, curves  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.app.pages import training_runs  # pyright: ignore[reportMissingImports]
from streamlit.testing.v1 import AppTest

from simsiam_retrieval import UserError
from simsiam_retrieval.training.run_files import VIEWS
from tests.support.app_pages import SECONDS, TRAINING, run, said


def row(step: int, **values: Any) -> dict[str, Any]:
    numbers = {"step": step, "epoch": step / 2, "loss": -step / 10, "std": 0.9, "lr": 0.1, "images_per_second": 100.5}
    return numbers | values


def make(path: Path, rows: list[dict[str, Any]], **config: Any) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"config": {"epochs": 40, "backbone": "resnet18"} | config}))
    (path / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two runs: ``first``, written last, and ``group/**second**``, whose monitor has looked, and which collapses."""
    root = tmp_path / "runs"
    make(root / "first", [row(1), row(2), row(3)])
    looked = row(4, std=0.2, rankme=7.4, view_retrieval=0.25, knn=0.61, verdict="dimensional collapse")
    make(root / "group" / "**second**", [row(1, rankme=60.0), row(2), looked], epochs=2, base_lr=0.2)
    os.utime(root / "first" / "metrics.jsonl", (2e9, 2e9))
    return root


def page(root: Path, *names: str) -> AppTest:
    settings.use(settings.Settings(Path("nowhere"), root))
    test = AppTest.from_string(TRAINING, default_timeout=SECONDS)
    if names:
        test.query_params["run"] = list(names)
    return run(test)


def test_runs_are_chosen_by_name_and_kept_in_the_address(root: Path) -> None:
    test = page(root)
    assert test.multiselect[0].options == ["first", "group/**second**"]
    assert test.multiselect[0].value == ["first"] and ">first</h1>" in said(test)
    run(test.multiselect[0].set_value(["group/**second**"]))
    assert test.query_params == {"run": "group/**second**"}
    assert ">group/**second**</h1>" in said(test)
    test.query_params.clear()  # the browser's Back
    assert run(test).multiselect[0].value == ["first"]
    assert page(root, "gone", "group/**second**").multiselect[0].value == ["group/**second**"]
    assert page(root, "gone").multiselect[0].value == ["first"]


def test_several_runs_stand_side_by_side(root: Path) -> None:
    test = page(root, "first", "group/**second**")
    text = said(test)
    rows = re.findall(r"<tr><th scope=\"row\"><span class=\"sr-dot\".*?</tr>", text)
    assert len(rows) == 2 and "first" in rows[0] and "**second**" in rows[1]
    for expected in ("1.5 / 40", "-0.300", "0.90", "100"):
        assert expected in rows[0]
    for expected in ("2.0 / 2", "-0.400", "0.20", ">7<", "61.0 %", "finished", "<strong>collapse</strong>"):
        assert expected in rows[1]
    assert PALETTE[0] in rows[0] and PALETTE[1] in rows[1]
    assert "group/**second**: Dimensional collapse: the outputs differ along about 7 directions" in text
    assert "0.2" in text and "Base lr" in text  # a setting in which they differ
    assert "Backbone" not in text
    assert len(test.get("vega_lite_chart")) == 7  # RankMe, view retrieval and kNN of the second alone, too


def test_a_curve_has_each_run_in_its_colour() -> None:
    series = [("a", [row(1), row(2)]), ("b", [row(1, loss=-0.9)])]
    drawn = curves(series, "loss", marks=(-1.0, 0.0)).to_dict()
    tables = drawn["datasets"].values()
    values = next(table for table in tables if table and "run" in table[0])
    assert [(one["run"], one["epoch"], one["loss"]) for one in values] == [
        ("a", 0.5, -0.1),
        ("a", 1.0, -0.2),
        ("b", 0.5, -0.9),
    ]
    line = drawn["layer"][1]["encoding"]
    assert line["color"]["scale"] == {"domain": ["a", "b"], "range": list(PALETTE)}
    assert line["y"]["scale"]["domain"] == [-1.0, 0.0]


def test_all_that_the_monitor_measures_is_a_switch_away(root: Path) -> None:
    looked = {"rankme": 70.0, "rankme_features": 50.0, "variance_auc": 0.8, "alignment": 0.1, "uniformity": -2.0}
    make(root / "third", [row(1), row(2, **looked)])
    test = page(root, "third")
    assert len(test.get("vega_lite_chart")) == 5
    run(test.toggle[0].set_value(True))
    assert len(test.get("vega_lite_chart")) == 9


@pytest.mark.parametrize(
    ("last", "config", "expected", "kind"),
    [
        ({}, {}, "Too early to say", ""),
        (
            {"rankme": 74.2, "view_retrieval": 0.31},
            {},
            "No sign of collapse: spread 0.90, where 1 is healthy, variety of features 74.",
            "",
        ),
        ({"std": 0.05}, {}, "Collapse: the network gives every image nearly the same", "warning"),
        ({"std": 0.25, "verdict": "collapse"}, {}, "half the learning rate (--base-lr)", "warning"),
        ({"verdict": "collapse"}, {"stop_gradient": False}, "without --no-stop-gradient", "warning"),
        ({"rankme": 3.0, "verdict": "dimensional collapse"}, {}, "about 3 directions", "warning"),
        ({"rankme": 74.0, "verdict": ["odd"]}, {}, "No sign of collapse", ""),
    ],
)
def test_verdicts_in_words(tmp_path: Path, last: dict, config: dict, expected: str, kind: str) -> None:
    text, found = training_runs.verdict_text(
        training_runs.read_run(make(tmp_path / "run", [row(1), row(2, **last)], **config))
    )
    assert expected in text and found == kind


def test_a_verdict_that_was_taken_back_counts_no_more(tmp_path: Path) -> None:
    rows = [row(1, rankme=3.0, verdict="dimensional collapse"), row(2), row(3, rankme=80.0), row(4)]
    assert training_runs.verdict_text(training_runs.read_run(make(tmp_path / "run", rows)))[0].startswith(
        "No sign of collapse"
    )


def test_outputs_that_lose_directions_are_to_be_watched(tmp_path: Path) -> None:
    falling = [row(1, rankme=100.0, std=1.0), row(2, rankme=70.0, std=0.9)]
    found = training_runs.read_run(make(tmp_path / "falling", falling))
    text, kind = training_runs.verdict_text(found)
    assert (found.standing, kind) == ("watch it", "warning") and "70, is well below its best of 100" in text
    for name, last in (("std", {"rankme": 70.0, "std": 1.0}), ("rank", {"rankme": 90.0, "std": 0.9})):  # one of the two
        assert training_runs.read_run(make(tmp_path / name, [falling[0], row(2, **last)])).standing == "no alarm"
    test = page(tmp_path, "falling", "std")
    assert "<td>watch it</td>" in said(test) and "<td>no alarm</td>" in said(test)
    assert said(test).count('role="alert"') == 1


def test_states(tmp_path: Path) -> None:
    path = make(tmp_path / "run", [row(1)])
    assert training_runs.read_run(path).state == "running"
    long_ago = time.time() - 2 * 3600
    os.utime(path / "metrics.jsonl", (long_ago, long_ago))
    assert training_runs.read_run(path).state == "stopped"
    assert "stopped, 2 h ago" in said(page(tmp_path, "run"))
    (path / "metrics.jsonl").write_text(json.dumps(row(80)) + "\n")
    assert training_runs.read_run(path).state == "finished"
    (path / "metrics.jsonl").write_text("")
    assert training_runs.read_run(path).state == "waiting"


def test_one_damaged_run_does_not_hide_the_others(root: Path) -> None:
    (root / "first" / "metrics.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not text"):
        training_runs.read_run(root / "first")
    text = said(page(root, "first", "group/**second**"))
    assert "not text" in text and "-0.400" in text


def test_a_damaged_line_costs_no_other(root: Path) -> None:
    file = root / "first" / "metrics.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(lines[0] + b"\xff" + lines[1] + lines[2])
    assert [row["step"] for row in training_runs.read_run(root / "first").rows] == [1, 3]


def test_the_views_of_a_run_are_shown(root: Path, run_dir: Path) -> None:
    assert "What the network sees" not in said(page(root, "first"))
    shutil.copy(run_dir / "views.jpg", root / "first")
    text = said(page(root, "first"))
    found = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)" alt="([^"]+)"', text)
    sheet = Image.open(run_dir / "views.jpg")
    side = sheet.width // (1 + VIEWS)
    assert [alt for _, alt in found[:6]] == [
        "image of image 1",
        *(f"view {n} of image 1" for n in (1, 2, 3, 4)),
        "image of image 2",
    ]
    assert len(found) == (1 + VIEWS) * sheet.height // side
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(found[6][0]))), float)
    difference = [
        np.abs(shown - np.asarray(sheet.crop((column * side, side, (column + 1) * side, 2 * side)), float)).mean()
        for column in range(1 + VIEWS)
    ]
    assert np.argmin(difference) == 1 and difference[1] < 8  # JPEG twice
    (root / "first" / "views.jpg").write_bytes(b"\xff\xd8 cut off")
    assert "What the network sees" not in said(page(root, "first"))
