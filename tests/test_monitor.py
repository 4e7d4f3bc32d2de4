"""The monitor sees collapse on real images, and stays quiet where there is none."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from simsiam_retrieval.images.augment import Augmentation
from simsiam_retrieval.images.files import list_images
from simsiam_retrieval.images.store import ImageStore, load_store
from simsiam_retrieval.siamese.simsiam import SimSiam
from simsiam_retrieval.training.config import Config
from simsiam_retrieval.training.loop import Collapsed, train
from simsiam_retrieval.training.monitor import Monitor, Reading, explain, verdict
from simsiam_retrieval.training.plan import make_plan
from simsiam_retrieval.training.report import Progress
from simsiam_retrieval.training.run import Run, build_model

CPU = torch.device("cpu")
HIGH_LR = Config(image_size=32, batch_size=42, epochs=20, projector_dim=256, predictor_dim=64, base_lr=2.0)


@pytest.fixture(scope="module")
def store(photos: Path) -> ImageStore:
    return load_store(list_images([photos]).images, 48, workers=0)


def alarms(config: Config, store: ImageStore, folder: Path) -> list[str]:
    seen: list[str] = []

    def note(now: Progress) -> None:
        if now.alarm:
            seen.append(now.alarm)

    folder.mkdir()
    train(config, store, Run(folder), device=CPU, on_progress=note)
    return seen


def changed(config: Config, **values) -> Config:
    return Config(**{**config.__dict__, **values})


def test_without_stop_gradient_one_alarm_is_raised(store: ImageStore, tmp_path: Path) -> None:
    [alarm] = alarms(changed(HIGH_LR, stop_gradient=False), store, tmp_path / "run")
    assert "collapse" in alarm and "--no-stop-gradient" in alarm
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert "collapse" in last["verdict"]


def test_with_stop_gradient_the_same_run_stays_quiet(store: ImageStore, tmp_path: Path) -> None:
    assert alarms(HIGH_LR, store, tmp_path / "run") == []
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert not any("verdict" in row for row in rows)
    assert rows[-1]["rankme"] > 10


def test_stop_on_collapse_ends_the_run_and_keeps_a_checkpoint(store: ImageStore, tmp_path: Path) -> None:
    config = changed(HIGH_LR, stop_gradient=False, stop_on_collapse=True)
    with pytest.raises(Collapsed, match="collapse"):
        alarms(config, store, tmp_path / "run")
    assert Run(tmp_path / "run").load_checkpoint()["step"] > 0


def test_stop_on_collapse_exits_with_2(run_command, photos: Path, tmp_path: Path) -> None:
    sizes = ["--image-size", "32", "--batch-size", "42", "--projector-dim", "256", "--predictor-dim", "64"]
    options = [*sizes, "--epochs", "20", "--base-lr", "2"]
    done = run_command(
        "pretrain", photos, "--out", tmp_path / "run", *options, "--no-stop-gradient", "--stop-on-collapse"
    )
    assert done.returncode == 2
    assert "error: stopped at a" in done.stderr and "Traceback" not in done.stderr


def test_a_look_leaves_the_network_as_it_was_and_repeats(store: ImageStore) -> None:
    model = build_model(Config(projector_dim=32, predictor_dim=8)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    pixels, aspect = torch.from_numpy(store.pixels[:20]), torch.from_numpy(store.aspect[:20])
    monitor = Monitor(Augmentation(image_size=32), pixels, aspect, torch.Generator().manual_seed(0))
    assert monitor.look(model, CPU) == monitor.look(model, CPU)
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_network_that_gives_one_output_reads_as_collapsed(store: ImageStore) -> None:
    class Constant(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.ones(len(x), 6)

    model = SimSiam(Constant(), 6, dim=8, projector_hidden_dim=8, predictor_hidden_dim=4)
    pixels, aspect = torch.from_numpy(store.pixels[:16]), torch.from_numpy(store.aspect[:16])
    reading = Monitor(Augmentation(image_size=32), pixels, aspect, torch.Generator()).look(model, CPU)
    assert reading.rankme == pytest.approx(1, abs=1e-3)
    assert reading.view_retrieval == pytest.approx(1 / 16)
    assert reading.alignment == pytest.approx(0, abs=1e-6)
    assert reading.uniformity == pytest.approx(0, abs=1e-6)


def reading(rank: float) -> Reading:
    return Reading(rank, 50, 0.9, 0.5, 0.3, -1.5, images=100)


def test_verdicts() -> None:
    assert verdict(1.0, reading(30), 2048) is None
    assert verdict(1.0, None, 2048) is None
    assert verdict(0.05, None, 2048) == "collapse"
    assert verdict(math.nan, None, 2048) == "collapse"
    assert verdict(0.9, reading(2), 2048) == "dimensional collapse"


def test_the_alarm_names_causes() -> None:
    text = explain("collapse", 0.01, None, stop_gradient=True, batch_size=8)
    assert "--batch-size" in text and "--base-lr" in text and "stop-gradient" not in text


@pytest.mark.parametrize(
    ("images", "asked", "spared"), [(2000, 256, 100), (10_000, 256, 256), (100, 256, 0), (2000, 0, 0)]
)
def test_held_out_images_are_not_trained_on(images: int, asked: int, spared: int) -> None:
    plan = make_plan(Config(held_out=asked), images)
    assert len(plan.training) == images - spared
    if spared:
        assert len(plan.held_out) == spared
        assert not set(plan.held_out.tolist()) & set(plan.training.tolist())
    else:
        assert set(plan.held_out.tolist()) <= set(plan.training.tolist())
