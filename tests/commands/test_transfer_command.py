"""The transfer command: what it runs, prints and keeps, how it chooses, goes on and refuses."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from simsiam_retrieval.detection import compare_initialisations
from simsiam_retrieval.detection.compare_initialisations import Plan, compare
from simsiam_retrieval.detection.comparison_report import markdown
from simsiam_retrieval.detection.dataset_parts import Parts, read_parts
from simsiam_retrieval.detection.detection_settings import Settings
from simsiam_retrieval.detection.finetune import Fit, Interrupted, Machine
from simsiam_retrieval.detection.initialisations import open_initialisations
from tests.support.commands import Command, refused
from tests.support.detection_sets import voc_folder

TINY = (
    "--batch-size",
    2,
    "--image-size",
    64,
    "--steps",
    2,
    "--roi-size",
    4,
    "--rois",
    16,
    "--proposals",
    20,
    "--bn-batches",
    1,
)


@pytest.fixture(scope="module")
def voc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return voc_folder(tmp_path_factory.mktemp("blobs") / "voc", {"train": 8, "val": 2, "test": 2})


def test_encoder_and_random_weights_are_compared_and_not_done_twice(
    run: Command, run_dir: Path, voc: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = ("transfer", run_dir, "--train", voc, *TINY, "--seeds", 2, "--out", out, "--workers", 0)
    done = run(*command)
    assert done.returncode == 0, done.stderr
    table = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert [line.split("|")[1].strip() for line in table[2:]] == ["tiny", "random"]
    assert table[2].split("|")[-2].strip() == "2" and "±" in table[2]
    content = json.loads((out / "results.json").read_text())
    for row in content["initialisations"]:
        aps = [fit["test"]["box"]["AP"] for fit in row["fits"]]
        found = row["test"]["box"]["AP"]
        assert found["mean"] == pytest.approx(sum(aps) / 2)
        assert found["std"] == pytest.approx(abs(aps[0] - aps[1]) / 2**0.5)
        assert [(fit["seed"], fit["lr"]) for fit in row["fits"]] == [(0, 0.02), (1, 0.02)]
    assert content["data"]["train"]["images"] == 8 and content["classes"] == ["disc", "square"]
    for folder in ("tiny-lr0.02-seed0", "random-lr0.02-seed1"):
        assert {"checkpoint.pt", "fit.json", "metrics.jsonl", "result.json"} <= {
            file.name for file in (out / folder).iterdir()
        }
    weights = (out / "tiny-lr0.02-seed0" / "checkpoint.pt").stat().st_mtime_ns
    again = run(*command)
    assert again.stdout == done.stdout and again.stderr.count("done already") == 4
    # a second learning rate needs the validation part, but nothing is trained again for it
    more = run(*command, "--seeds", 1, "--lr", 0.02, 0.03, "--no-random", "--json")
    assert more.returncode == 0, more.stderr
    (row,) = json.loads(more.stdout)["initialisations"]
    val = {fit["lr"]: fit["val"]["box"]["AP"] for fit in row["fits"]}
    assert set(val) == {0.02, 0.03} and row["lr"] == max((0.02, 0.03), key=lambda lr: val[lr])
    assert (out / "tiny-lr0.02-seed0" / "checkpoint.pt").stat().st_mtime_ns == weights
    refused(run(*command, "--steps", 3), "begun with other settings (--steps)")
    refused(run(*command, "--test-split", "val"), "begun with other test images")


def test_mistakes_are_one_line(run: Command, run_dir: Path, voc: Path, tmp_path: Path, monkeypatch) -> None:
    command = ("transfer", run_dir, "--train", voc, *TINY)
    refused(run("transfer", run_dir), "--train DIR")
    refused(run("transfer", "nowhere", "--train", voc), "nowhere")
    refused(run(*command, "--batch-size", 1), "--batch-size 1 is out of range")
    refused(run(*command, "--lr", 0), "--lr 0 is out of range")
    refused(run(*command, "--seeds", 0), "--seeds 0 is out of range")
    refused(run(*command, "--workers", -1), "--workers -1")
    refused(run(*command, "--device", "cuda:77"), "--device cuda:77")
    refused(run(*command, "--recipe", "cityscapes"), "unknown recipe 'cityscapes'; choose from small, voc, coco")
    refused(run(*command, "--masks"), "has no segmentation")
    refused(run(*command, "--out", run_dir), "choose another --out")
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    refused(run(*command), "pip install 'simsiam-retrieval[transfer]'")


@pytest.fixture
def parts(voc: Path) -> Parts:
    return read_parts([voc], None, choosing=True, workers=0)


def result(fit: Fit, val: float | None, test: float) -> dict[str, Any]:
    def measured(ap: float) -> dict[str, Any]:
        return {"box": {"AP": ap, "AP50": ap, "AP75": None}}

    both = {"val": None if val is None else measured(val), "test": None if val is None else measured(test)}
    return {"name": fit.initialisation.name, "lr": fit.lr, "seed": fit.seed, "diverged": val is None, **both}


def test_the_validation_part_chooses_the_learning_rate(
    parts: Parts, run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    val = {("tiny", 0.1): 0.3, ("tiny", 0.2): 0.2, ("random", 0.1): None, ("random", 0.2): 0.1}
    done = []

    def fit(one: Fit, label: str, *rest: Any) -> dict[str, Any]:
        done.append((one.initialisation.name, one.lr, one.seed))
        return result(one, val[done[-1][:2]], 0.9 if one.lr == 0.2 else 0.1 + one.seed / 10)  # the test says otherwise

    monkeypatch.setattr(compare_initialisations, "_fit", fit)
    plan = Plan(open_initialisations([str(run_dir), "random"]), (0.1, 0.2), (5, 6, 7))
    content = compare(plan, parts, Settings(), tmp_path / "out", Machine(torch.device("cpu")))
    assert content is not None
    assert done[:4] == [("tiny", 0.1, 5), ("tiny", 0.2, 5), ("random", 0.1, 5), ("random", 0.2, 5)]
    assert done[4:] == [("tiny", 0.1, 6), ("random", 0.2, 6), ("tiny", 0.1, 7), ("random", 0.2, 7)]
    ap = content["initialisations"][0]["test"]["box"]["AP"]
    assert (ap["mean"], ap["std"], ap["seeds"]) == (pytest.approx(0.7), pytest.approx(0.1), 3)
    lines = markdown(content).splitlines()
    assert [cell.strip() for cell in lines[-2].split("|")[1:-1]] == [
        "tiny",
        "0.1",
        "70.0 ± 10.0",
        "70.0 ± 10.0",
        "–",
        "3",
    ]
    assert [cell.strip() for cell in lines[-1].split("|")[1:-1]] == [
        "random",
        "0.2",
        "90.0 ± 0.0",
        "90.0 ± 0.0",
        "–",
        "3",
    ]


def test_stopping_and_a_second_process(parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(*rest: Any) -> dict[str, Any]:
        with pytest.raises(Exception, match="another process is writing"):
            compare(plan, parts, Settings(), tmp_path / "out", machine)
        raise Interrupted

    monkeypatch.setattr(compare_initialisations, "_fit", fit)
    plan, machine = Plan(open_initialisations(["random"]), (0.1,), (0,)), Machine(torch.device("cpu"))
    assert compare(plan, parts, Settings(), tmp_path / "out", machine) is None


def test_help_needs_no_torch() -> None:
    code = (
        "import sys, runpy\nsys.argv = ['transfer', '--recipe', 'voc', '--help']\n"
        "try:\n    runpy.run_module('simsiam_retrieval.transfer', run_name='__main__')\n"
        "except SystemExit:\n    print('loaded', sorted({'torch', 'numpy', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("loaded []\n") and "800" in done.stdout, done.stdout
