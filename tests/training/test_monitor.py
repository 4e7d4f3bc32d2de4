"""The monitor sees collapse on real images, and stays quiet where there is none."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from simsiam_retrieval.images.files import ImageFile, list_images
from simsiam_retrieval.methods.simsiam import SimSiam
from simsiam_retrieval.training import training_report
from simsiam_retrieval.training.augmentation import Augmentation
from simsiam_retrieval.training.build_model import build_model
from simsiam_retrieval.training.config import Config
from simsiam_retrieval.training.data_split import make_plan
from simsiam_retrieval.training.knn_monitor import KnnCheck, can_check, folder_labels
from simsiam_retrieval.training.loop import train
from simsiam_retrieval.training.monitor import Monitor, Reading, _curve, explain, verdict
from simsiam_retrieval.training.pixel_store import ImageStore, load_store
from simsiam_retrieval.training.recipes import recipe
from simsiam_retrieval.training.run_folder import Run
from simsiam_retrieval.training.training_report import Progress, Report
from tests.support.commands import Command

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


@pytest.mark.parametrize(("method", "warns"), [("simsiam", True), ("byol", True), ("moco-v2", False), ("swav", False)])
def test_only_methods_that_can_collapse_raise_an_alarm(method: str, warns: bool, tmp_path: Path) -> None:
    """Outputs of a fresh MoCo lie as close together as a collapsed SimSiam's."""
    config = changed(recipe("photos", method), batch_size=16)
    given = Report(config, Run(tmp_path), make_plan(config, 16), pytest.fail, lambda progress: None)
    close = torch.tensor([1.0, 0.2 * config.projector_dim**-0.5])  # loss, std
    alarm = given.add(5, close, 0.1)
    assert (alarm is not None and alarm.startswith("collapse")) == warns
    assert ("verdict" in json.loads((tmp_path / "metrics.jsonl").read_text())) == warns


def test_stop_on_collapse_keeps_a_checkpoint_and_exits_with_2(
    run: Command, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_report, "LOOK_SECONDS", 0)  # a look after each epoch, however fast the machine is
    monkeypatch.setattr(training_report, "LOOK_SHARE", math.inf)
    sizes = [
        "--recipe",
        "simsiam",
        "--image-size",
        "32",
        "--batch-size",
        "42",
        "--projector-dim",
        "256",
        "--predictor-dim",
        "64",
    ]
    options = [*sizes, "--epochs", "20", "--base-lr", "2", "--workers", "0"]
    done = run("pretrain", photos, "--out", tmp_path / "run", *options, "--no-stop-gradient", "--stop-on-collapse")
    assert done.returncode == 2
    assert "error: stopped at a" in done.stderr and "collapse" in done.stderr and "Traceback" not in done.stderr
    assert 0 < Run(tmp_path / "run").load_checkpoint()["step"] < 20 * 3


def test_a_look_leaves_the_network_as_it_was_and_repeats(store: ImageStore) -> None:
    model = build_model(Config(projector_dim=32, predictor_dim=8)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    pixels, aspect = torch.from_numpy(store.take(np.arange(20))), torch.from_numpy(store.aspect[:20])
    monitor = Monitor(Augmentation(image_size=32), pixels, aspect, torch.Generator().manual_seed(0))
    assert monitor.look(model, CPU) == monitor.look(model, CPU)
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_network_that_gives_one_output_reads_as_collapsed(store: ImageStore) -> None:
    class Constant(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.ones(len(x), 6)

    model = SimSiam(Constant(), 6, dim=8, projector_hidden_dim=8, predictor_hidden_dim=4)
    pixels, aspect = torch.from_numpy(store.take(np.arange(16))), torch.from_numpy(store.aspect[:16])
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


def test_a_fall_from_the_run_s_own_best_counts_with_a_falling_std() -> None:
    """Rows of two runs on 3,068 photos, with and without stop-gradient, at the end of epochs 1 and 2, and of 60."""
    assert verdict(0.933, reading(45.9), 2048, best_rankme=87.5) == "dimensional collapse"
    assert verdict(0.831, reading(19.1), 2048, best_rankme=87.5) == "dimensional collapse"
    assert verdict(0.999, reading(92.6), 2048, best_rankme=96.3) is None
    assert verdict(0.984, reading(57.4), 2048, best_rankme=96.3) is None
    assert verdict(0.94, reading(57.4), 2048, best_rankme=58) is None


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


# -- labels, for the eye alone


def labelled_store(n: int = 700) -> tuple[ImageStore, torch.Tensor]:
    """Noise in two colours: what kNN tells apart without any training."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % 2
    pixels = torch.randint(0, 100, (n, 3, 16, 16), generator=generator, dtype=torch.uint8)
    pixels[labels == 1, 0] += 150
    files = [ImageFile(Path(f"/{number}.png"), 1, 1) for number in range(n)]
    nhwc = np.ascontiguousarray(pixels.permute(0, 2, 3, 1).numpy())
    return ImageStore(nhwc, np.ones(n, np.float32), np.zeros((n, 32), np.uint8), files, []), labels


class Means(nn.Module):
    """A backbone that knows colours: mean of each channel."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=(2, 3))


def test_knn_accuracy_of_held_out_images() -> None:
    store, labels = labelled_store()
    plan = make_plan(Config(held_out=35), len(store))
    settings = Augmentation(image_size=16)
    assert KnnCheck(settings, store, plan, labels).accuracy(Means(), CPU) == 1
    shuffled = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))]
    assert 0.2 < KnnCheck(settings, store, plan, shuffled).accuracy(Means(), CPU) < 0.8
    # unlabelled images neither vote nor count: with one class left to vote for, half are wrong
    partly = labels.clone()
    partly[plan.training[labels[plan.training] == 1]] = -1
    expected = (labels[plan.held_out] == 0).float().mean().item()
    assert KnnCheck(settings, store, plan, partly).accuracy(Means(), CPU) == pytest.approx(expected)


def test_where_knn_cannot_be_measured() -> None:
    store, labels = labelled_store()
    apart = make_plan(Config(held_out=35), len(store))
    assert can_check(apart, labels)
    assert not can_check(apart, torch.zeros_like(labels))  # one class
    assert not can_check(apart, torch.full_like(labels, -1))
    assert not can_check(make_plan(Config(held_out=0), len(store)), labels)  # nothing held out: they would know
    with pytest.raises(ValueError, match="no labels"):
        KnnCheck(Augmentation(image_size=16), store, apart, torch.zeros_like(labels))


def test_labels_are_the_folders_below_a_root() -> None:
    roots = [Path("/a"), Path("/b/c")]
    paths = [
        "/a/cat/1.jpg",
        "/a/dog/deep/2.jpg",
        "/a/beside.jpg",
        "/b/c/dog/3.jpg",
        "/b/c/ant/4.jpg",
        "/elsewhere/5.jpg",
    ]
    assert folder_labels([Path(path) for path in paths], roots).tolist() == [1, 2, -1, 2, 0, -1]


def test_labels_reach_the_metrics_and_change_nothing_else(tmp_path: Path) -> None:
    store, labels = labelled_store()
    config = Config(image_size=16, batch_size=64, epochs=1, projector_dim=32, predictor_dim=8, held_out=35)
    ends = []
    for name, given in (("with", labels), ("without", None)):
        (tmp_path / name).mkdir()
        train(config, store, Run(tmp_path / name), device=CPU, labels=given)
        ends.append(Run(tmp_path / name).load_checkpoint()["model"])
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    rows = [json.loads(line) for line in (tmp_path / "with" / "metrics.jsonl").read_text().splitlines()]
    assert 0 <= rows[-1]["knn"] <= 1
    assert "knn" not in (tmp_path / "without" / "metrics.jsonl").read_text()


def test_the_curve_of_explained_variance(store: ImageStore) -> None:
    """The shares of the first 1, 2, 4, ... components, against numpy's covariance."""
    z = torch.randn(20, 6, generator=torch.Generator().manual_seed(0)) * torch.tensor([5.0, 3, 2, 1, 0.5, 0.1])
    values = np.sort(np.linalg.eigvalsh(np.cov(z.numpy().astype(np.float64).T)))[::-1]
    expected = [values[:count].sum() / values.sum() for count in (1, 2, 4)]
    assert _curve(z) == pytest.approx(expected)
