"""The Training page: runs, their numbers, probe results, odd files."""

import json
import os
import shutil
from pathlib import Path

import pytest
from simsiam_retrieval.app.pages import training_runs  # pyright: ignore[reportMissingImports]

from tests.support.app_pages import run, said, training_page
from tests.support.run_rows import row


def test_no_runs_says_what_to_type_and_the_first_one_appears(run_folder: Path, tmp_path: Path) -> None:
    test = training_page(tmp_path / "later")
    assert "no training run" in said(test) and "python -m simsiam_retrieval.pretrain FOLDER" in said(test)
    shutil.copytree(run_folder.parent, tmp_path / "later")
    run(test)
    assert "no training run" not in said(test)


def test_a_run_shows_numbers_curves_and_settings(run_folder: Path) -> None:
    test = training_page(run_folder.parent)
    page = said(test)
    for expected in ("1.5 / 40", "-0.300", "0.90", "1,234", "resnet18", "1,024", "20,613", "NVIDIA H100", "torch 2.11"):
        assert expected in page
    assert "&lt;b&gt;mine" in page
    assert len(test.get("vega_lite_chart")) == 4
    assert f"simsiam_retrieval.probe {run_folder}" in page  # nothing measured yet


def test_rows_that_are_written_meanwhile_show(run_folder: Path) -> None:
    test = training_page(run_folder.parent)
    with (run_folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(row(20)) + "\n" + '{"step": 21, "ep')
    run(test)
    assert "10.0 / 40" in said(test)


def test_the_newest_probe_is_shown_in_percent(run_folder: Path) -> None:
    results = {
        "knn": {"top1": 0.6111, "top5": 0.95, "k": 20, "temperature": 0.1},
        "linear": {"top1": 0.66449, "top5": 1},
    }
    common = {"train": "/data/train", "test": "/data/<i>", "classes": 10, "train_images": 9469, "test_images": 3925}
    folder = run_folder / "eval"
    folder.mkdir()
    new = common | {"results": results, "created": "2026-11-21T10:00:00"}
    old = common | {"results": {"knn": {"top1": 0.1, "top5": 0.2}}, "created": "2026-11-20T10:00:00"}
    (folder / "a.json").write_text(json.dumps(new))
    (folder / "b.json").write_text(json.dumps(old))
    (folder / "half.json").write_text('{"results"')
    (folder / "other.json").write_text('["results"]')
    page = said(training_page(run_folder.parent))
    for expected in (
        "kNN (k = 20)",
        "61.1 %",
        "95.0 %",
        "Linear probe",
        "66.4 %",
        "100.0 %",
        "9,469 images",
        "&lt;i&gt;",
    ):
        assert expected in page
    assert "10.0 %" not in page


def test_a_probe_is_shown_beside_its_baselines(run_folder: Path) -> None:
    mine = {"knn": {"top1": 0.5, "k": 200}, "knn-whitened": {"top1": 0.52, "k": 20}, "linear": {"top1": 0.6}}
    pixels = {"knn": {"top1": 0.31, "k": 200}, "knn-20": {"top1": 0.33, "k": 20}, "linear": {"top1": 0.41}}
    content = {"results": mine, "baselines": [{"name": "raw pixels", "results": pixels}], "created": "2026-11-21"}
    (run_folder / "eval").mkdir()
    (run_folder / "eval" / "a.json").write_text(json.dumps(content))
    page = said(training_page(run_folder.parent))
    for expected in ("kNN (k = 200)", "Whitened kNN (k = 20)", "kNN (k = 20), raw pixels", "33.0 %", "41.0 %"):
        assert expected in page
    assert "31.0 %" not in page


def test_a_collapsed_run_is_told(run_folder: Path) -> None:
    assert "same features" not in said(training_page(run_folder.parent))
    with (run_folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(row(4, std=0.01)) + "\n")
    assert "same features" in said(training_page(run_folder.parent))


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("config.json", b"{", "damaged"),
        ("config.json", b"[]", "first</h1>"),
        ("config.json", b'{"config": 3, "data": {"roots": 4}}', "first</h1>"),
        ("metrics.jsonl", b"", "first numbers"),
        ("metrics.jsonl", b"3\n{}\n[1]\n" + b'{"epoch": NaN, "loss": 1}\n', "first numbers"),
        ("metrics.jsonl", b'{"epoch": 1.0, "loss": "x"}\n', "1.0 / 40"),
        ("metrics.jsonl", b"\xff\xfe\x00", "not text"),
    ],
)
def test_an_odd_run_is_no_traceback(run_folder: Path, file: str, content: bytes, expected: str) -> None:
    (run_folder / file).write_bytes(content)
    assert expected in said(training_page(run_folder.parent))


def test_converted_weights_have_no_curves_and_say_where_they_are_from(run_folder: Path) -> None:
    given = run_folder.parent / "given"
    given.mkdir()
    facts = {"file": "<b>model.pth", "sha256": "ab12", "layout": "resnet", "heads": "none", "licence": None}
    (given / "config.json").write_text(json.dumps({"config": {"backbone": "resnet50"}, "converted": facts}))
    assert training_runs.find_runs(run_folder.parent) == [run_folder]  # being written
    (given / "checkpoint.pt").write_bytes(b"weights")
    os.utime(given / "checkpoint.pt", (2e9, 2e9))
    assert training_runs.find_runs(run_folder.parent) == [given, run_folder]
    page = said(training_page(run_folder.parent))
    assert "not trained here" in page and "first numbers" not in page
    assert "&lt;b&gt;model.pth" in page and "ab12" in page and "Licence" not in page
    (given / "config.json").write_text(json.dumps({"config": {}, "converted": [1]}))
    assert "given</h1>" in said(training_page(run_folder.parent))


def test_long_curves_are_thinned_to_their_last_row() -> None:
    rows = [{"epoch": float(i)} for i in range(2501)]
    thin = training_runs.thinned(rows, 1000)
    assert len(thin) <= 1000 and thin[-1] == rows[-1]
    assert training_runs.thinned(rows[:7], 1000) == rows[:7]
    assert training_runs.thinned([]) == []
