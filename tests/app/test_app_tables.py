"""The paper's tables on the Training page, without a browser: a set of runs as one comparison."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
from simsiam_retrieval.app.pages import paper_tables  # pyright: ignore[reportMissingImports]

from simsiam_retrieval import UserError
from simsiam_retrieval.evaluation.labelled import labelled_files
from simsiam_retrieval.reproduction.all_tables import TABLES
from simsiam_retrieval.reproduction.plan_runs import Data
from simsiam_retrieval.reproduction.scales import SCALES, config_of
from simsiam_retrieval.reproduction.stored_measurement import Measurement, write_measurement
from simsiam_retrieval.reproduction.table_results import gather, save
from tests.app.test_app_training import make, page, row
from tests.support.app_pages import said
from tests.support.small_encoder import paint


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with a run of its own, and one with symmetry's table: one row measured, one begun, one not begun."""
    for number in range(4):
        for side in ("train", "val"):
            paint(tmp_path / "data" / side / "ab"[number % 2] / f"{number}.png", number)
    data = Data(*(labelled_files(tmp_path / "data" / side) for side in ("train", "val")))
    root, scale, table = tmp_path / "runs", SCALES["smoke"], TABLES["symmetry"]
    make(root / "alone", [row(1), row(2)])
    out = root / "reproduce-smoke"
    rows = [row(1), row(2, loss=-0.75, std=0.5)]
    asym = make(out / "symmetry-asym-seed0", rows, **dataclasses.asdict(config_of(scale, table.rows[1], 0)))
    make(out / "symmetry-asym-2x-seed0", [row(1)], **dataclasses.asdict(config_of(scale, table.rows[2], 0)))
    found = {"knn": {"top1": 0.625, "k": 4}}
    write_measurement(asym, Measurement(data.digest, dataclasses.asdict(scale.protocol), found))
    save(out, gather(table, out, scale, {}, scale.protocol, data, None))
    return root


def test_a_table_is_one_choice_with_curves_and_the_papers_figures(root: Path) -> None:
    test = page(root, "reproduce-smoke/symmetry")
    assert "reproduce-smoke/symmetry" in test.multiselect[0].options and "alone" in test.multiselect[0].options
    text = said(test)
    assert ">Symmetrisation</h1>" in text and "Must both views predict each other?" in text
    live, results = text.split("ours and the paper")
    assert live.count("sr-dot") == 2 and "asym. 2×" in live and "-0.750" in live
    assert "<td>62.5</td>" in results and "<td>64.8</td>" in results and "<td>67.3</td>" in results
    line = next(line for line in results.split("<tr>") if ">sym.<" in line)
    assert line.count("<td>–</td>") == 3 and "68.1" in line  # not run: no number of ours
    assert len(test.get("vega_lite_chart")) == 4


def test_runs_may_be_chosen_beside_a_table(root: Path) -> None:
    text = said(page(root, "reproduce-smoke/symmetry", "alone"))
    assert text.split("ours and the paper")[0].count("sr-dot") == 3


def test_a_damaged_table_hides_nothing_else(root: Path) -> None:
    file = root / "reproduce-smoke" / "symmetry.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({"format": content["format"], "rows": 3}))
    text = said(page(root, "reproduce-smoke/symmetry", "alone"))
    assert text.count("damaged, it lacks results") == 1 and "-0.200" in text
    with pytest.raises(UserError, match="lacks results"):
        paper_tables.read_table(file)
    file.write_text(json.dumps({"format": "another"}))
    (root / "reproduce-smoke" / "folder.json").mkdir()
    assert paper_tables.find_tables(root) == []


def test_a_row_cannot_name_a_folder_elsewhere(root: Path) -> None:
    file = root / "reproduce-smoke" / "symmetry.json"
    content = json.loads(file.read_text())
    content["rows"][0]["stem"] = "../alone"
    file.write_text(json.dumps(content))
    assert "sym." not in paper_tables.read_table(file).runs


def test_reading_tables_needs_no_torch() -> None:
    code = "import sys, simsiam_retrieval.app.pages.paper_tables; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
