"""Metrics reach the trackers that people ask for, beside metrics.jsonl."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.training import experiment_trackers
from simsiam_retrieval.training.config import Config

ROW = {"step": 3, "epoch": 0.5, "loss": -0.25, "verdict": "collapse", "variance_explained": [0.5, 1.0]}
SHORT = ("--image-size", 20, "--batch-size", 16, "--epochs", 1, "--projector-dim", 16, "--predictor-dim", 8)


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard itself reads."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(folder))
    reader.Reload()
    return {tag: [(event.step, event.value) for event in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}


def test_tensorboard_shows_what_metrics_jsonl_says(run, few_photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    options = ("--out", "run", "--tracker", "tensorboard", "--device", "cpu", "--workers", 0)
    done = run("pretrain", few_photos, *options, *SHORT)
    assert done.returncode == 0, done.stderr
    [row] = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    shown = scalars(tmp_path / "run" / "tensorboard")
    assert shown["loss"] == [(row["step"], pytest.approx(row["loss"], abs=1e-6))]
    assert shown["rankme"] == [(row["step"], pytest.approx(row["rankme"], rel=1e-5))]
    assert "step" not in shown and "variance_explained" not in shown


@pytest.mark.parametrize("tracker", ["wandb", "trackio"])
def test_rows_stay_on_this_machine(tracker: str, tmp_path: Path) -> None:
    """In a process of its own: these packages write when it ends, and read the environment when it begins."""
    pytest.importorskip(tracker)
    code = (
        "from pathlib import Path\n"
        "from simsiam_retrieval.training.config import Config\n"
        "from simsiam_retrieval.training.experiment_trackers import tracking\n"
        f"run = Path({str(tmp_path / 'run-7')!r})\n"
        "run.mkdir()\n"
        f"with tracking({tracker!r}, run, Config()) as log: log({ROW!r})\n"
    )
    places = {"TRACKIO_DIR": str(tmp_path / "trackio"), "WANDB_MODE": "offline"}
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **places}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"run-7" in stored and b"loss" in stored and b"-0.25" in stored
    assert b"verdict" not in stored


def test_without_a_tracker_nothing_is_imported(tmp_path: Path) -> None:
    with experiment_trackers.tracking(None, tmp_path, Config()) as log:
        log(ROW)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "trackio"])
def test_a_tracker_that_is_not_installed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    message = f"--tracker {name}: not installed; pip install 'simsiam-retrieval"
    with pytest.raises(UserError, match=message), experiment_trackers.tracking(name, tmp_path, Config()):
        pass
