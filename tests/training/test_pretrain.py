"""Pretraining as a whole: the run folder, resuming to the bit, the schedule, and what goes wrong."""

import dataclasses
import hashlib
import io
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image

from simsiam_retrieval import pretrain as command_module
from simsiam_retrieval.core import cli
from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.images.files import list_images
from simsiam_retrieval.images.normalisation import IMAGENET
from simsiam_retrieval.methods.backbone import build_backbone
from simsiam_retrieval.training import augmentation, decode_squares, loop, monitor, training_report
from simsiam_retrieval.training import pixel_store as storing
from simsiam_retrieval.training import training_images as loading
from simsiam_retrieval.training.config import Config, from_dict
from simsiam_retrieval.training.pixel_store import load_store
from simsiam_retrieval.training.recipes import METHODS, RECIPES, recipe
from simsiam_retrieval.training.run_files import read_metrics, stored_config
from simsiam_retrieval.training.run_folder import Run, load_backbone
from simsiam_retrieval.training.run_options import Options
from simsiam_retrieval.training.schedule import cosine
from simsiam_retrieval.training.trainer import pretrain

# two steps an epoch on the 38 photos of `few_photos`
FAST = Config(image_size=20, store_size=20, batch_size=16, epochs=3, projector_dim=16, predictor_dim=8)
FAST_OPTIONS = [
    f"--{name.replace('_', '-')}={getattr(FAST, name)}"
    for name in ("image_size", "store_size", "batch_size", "epochs", "projector_dim", "predictor_dim")
]


def train(config: Config, data: Path, out: Path, **options: Any) -> Run:
    """A whole run in this process; returns its folder."""
    assert pretrain(config, [data], Options(out=out, device="cpu", workers=0, **options))
    return Run(out)


def state(run: Path | Run) -> dict[str, Any]:
    path = run.path if isinstance(run, Run) else run
    return torch.load(path / "checkpoint.pt", weights_only=True)


def same(a: Any, b: Any) -> bool:
    """Equal to the last bit, through dictionaries and lists."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.fixture(autouse=True)
def _rows_by_epoch_only_and_quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow machine would add rows in mid-epoch; no test cuts the power, so none waits for the disk."""
    monkeypatch.setattr(training_report, "ROW_SECONDS", 1e9)
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture(scope="module")
def finished(few_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """An undisturbed run of ``FAST``; read only."""
    return train(FAST, few_photos, tmp_path_factory.mktemp("runs") / "finished")


@dataclasses.dataclass
class Outcome:
    code: int
    out: str
    err: str


Command = Callable[..., Outcome]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """``python -m simsiam_retrieval.pretrain`` with these arguments, in this process and an empty folder."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def call(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["pretrain", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            cli.run(command_module.main)
        out, err = capsys.readouterr()
        assert isinstance(exit_.value.code, int)
        return Outcome(exit_.value.code, out, err)

    return call


def refused(outcome: Outcome, *words: str) -> None:
    """The user can mend it: exit code 2, nothing on stdout, one line that says what is wrong."""
    assert outcome.code == 2, outcome
    assert outcome.out == ""
    errors = [line for line in outcome.err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and outcome.err.splitlines()[-1] == errors[0], outcome.err
    assert "Traceback" not in outcome.err
    for word in words:
        assert word in errors[0]


# -- what a run leaves


def test_a_run_folder_describes_itself(run_dir, few_photos):
    described = json.loads((run_dir / "config.json").read_text(encoding="utf-8"))
    assert set(described["config"]) == {field.name for field in dataclasses.fields(Config)}
    assert from_dict(described["config"]) == Config(
        image_size=32, batch_size=16, epochs=2, projector_dim=64, predictor_dim=32
    )
    assert described["data"]["roots"] == [str(few_photos)]
    assert (described["data"]["images"], described["data"]["rejected"]) == (38, 0)
    assert described["data"]["fingerprint"]
    assert described["versions"]["torch"] == torch.__version__
    assert described["device"]["type"] == "cpu"


def test_metrics_have_a_row_an_epoch_with_growing_steps(finished):
    rows = [json.loads(line) for line in finished.metrics_file.read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4, 6]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    for row in rows:
        curve = row.pop("variance_explained", [1.0])  # where the monitor looked
        assert curve == sorted(curve) and curve[0] > 0 and curve[-1] <= 1
        assert all(math.isfinite(value) for value in row.values())
        assert -1 <= row["loss"] <= 1 and row["std"] > 0 and row["images_per_second"] > 0


def test_rows_come_by_time_as_well(few_photos, tmp_path, monkeypatch):
    monkeypatch.setattr(training_report, "ROW_SECONDS", 0)
    run = train(FAST, few_photos, tmp_path / "run")
    assert [row["step"] for row in read_metrics(run.path)] == [1, 2, 3, 4, 5, 6]


def test_a_row_is_the_mean_of_its_steps(few_photos, tmp_path, monkeypatch, finished):
    """The same run with a row a step: its losses and stds average to those of the rows by epoch."""
    monkeypatch.setattr(training_report, "ROW_SECONDS", 0)
    fine = read_metrics(train(FAST, few_photos, tmp_path / "run").path)
    for name in ("loss", "std"):
        pairs = np.array([row[name] for row in fine]).reshape(3, 2)
        coarse = [row[name] for row in read_metrics(finished.path)]
        np.testing.assert_allclose(coarse, pairs.mean(1), atol=2e-6)


def test_a_checkpoint_holds_all_that_resuming_needs(finished):
    saved = state(finished)
    assert saved["step"] == 6
    heads = {name.split(".")[0] for name in saved["model"]}
    assert heads == {"backbone", "projector", "predictor"}
    assert all(tensor.isfinite().all() for tensor in saved["model"].values())
    assert len(saved["optimizer"]["state"]) == sum(len(g["params"]) for g in saved["optimizer"]["param_groups"])
    assert saved["model"]["backbone.bn1.num_batches_tracked"].item() == 2 * 6  # two views a step


def test_equal_seeds_give_equal_runs_and_others_do_not(few_photos, tmp_path, finished):
    assert same(state(train(FAST, few_photos, tmp_path / "again")), state(finished))
    other = state(train(dataclasses.replace(FAST, seed=1), few_photos, tmp_path / "other"))
    assert not same(other["model"], state(finished)["model"])


def test_the_smallest_views_give_sound_and_equal_runs_too(few_photos, tmp_path):
    """At 8 px the last feature maps are a single pixel, and strided convolutions see mostly padding."""
    config = dataclasses.replace(FAST, image_size=8)
    first, second = (state(train(config, few_photos, tmp_path / name))["model"] for name in "ab")
    assert max(tensor.abs().max().item() for tensor in first.values()) < 1e3
    assert same(first, second)


def test_no_epochs_leave_the_initial_weights(few_photos, tmp_path):
    saved = state(train(dataclasses.replace(FAST, epochs=0), few_photos, tmp_path / "run"))
    assert saved["step"] == 0
    assert not saved["model"]["backbone.layer1.0.bn2.weight"].any()  # zero_init_residual, untouched


def test_fewer_images_than_a_batch_make_a_smaller_batch(photos, tmp_path):
    run = train(dataclasses.replace(FAST, batch_size=512, epochs=1), photos / "birds", tmp_path / "run")
    assert [row["step"] for row in read_metrics(run.path)] == [1]


def test_an_epoch_shows_each_image_once(few_photos, tmp_path, monkeypatch):
    """Every epoch is a permutation: 32 different images of 38 in two steps; another one each time."""
    seen: list[torch.Tensor] = []
    apply = augmentation.apply

    def noting(settings, images, parameters):
        seen.append(images.clone())
        return apply(settings, images, parameters)

    monkeypatch.setattr(augmentation, "apply", noting)
    train(dataclasses.replace(FAST, epochs=2), few_photos, tmp_path / "run")
    batches = [[image.numpy().tobytes() for image in images] for images in seen]
    assert batches[0::2] == batches[1::2]  # two views of the same images
    first, second = batches[0] + batches[2], batches[4] + batches[6]
    assert len(set(first)) == len(set(second)) == 32
    assert first != second


def test_loss_falls_well_below_its_start_without_collapse(few_photos, tmp_path):
    """An untrained predictor gives about 0; 25 steps reach -0.3 or so, with outputs that still scatter."""
    config = dataclasses.replace(FAST, batch_size=38, epochs=25, base_lr=0.6, projector_dim=128, predictor_dim=32)
    rows = read_metrics(train(config, few_photos, tmp_path / "run").path)
    assert abs(rows[0]["loss"]) < 0.05
    assert np.mean([row["loss"] for row in rows[-5:]]) < -0.15
    assert rows[-1]["std"] > 0.9  # 1 is healthy, 0 is collapse


# -- the schedule


@pytest.mark.parametrize(("step", "expected"), [(0, 1), (25, 0.8535533906), (50, 0.5), (75, 0.1464466094), (100, 0)])
def test_cosine_by_hand(step, expected):
    assert cosine(step, 100) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("batch_size", "used"), [(8, 8), (16, 16), (500, 38)])
def test_the_encoder_s_learning_rate_decays_and_the_predictor_s_does_not(
    few_photos, tmp_path, monkeypatch, batch_size, used
):
    seen: list[list[float]] = []

    class Noting(torch.optim.SGD):
        def step(self, *args, **options):
            seen.append([group["lr"] for group in self.param_groups])
            self.settings = [
                (group["momentum"], group["weight_decay"], group["nesterov"]) for group in self.param_groups
            ]
            assert self.settings == [(0.9, 1e-4, False)] * 2
            return super().step(*args, **options)

    monkeypatch.setattr(torch.optim, "SGD", Noting)
    run = train(dataclasses.replace(FAST, batch_size=batch_size), few_photos, tmp_path / "run")
    steps = 3 * (38 // used)
    lr = 0.05 * used / 256
    expected = [[lr * (1 + math.cos(math.pi * step / steps)) / 2, lr] for step in range(steps)]
    np.testing.assert_allclose(seen, expected, rtol=1e-9)
    logged = [row["lr"] for row in read_metrics(run.path)]
    np.testing.assert_allclose(logged, [expected[row["step"] - 1][0] for row in read_metrics(run.path)], atol=1e-8)


def test_recipes_are_the_paper_s():
    imagenet, cifar = RECIPES["imagenet"], RECIPES["cifar"]
    assert (imagenet.backbone, imagenet.image_size, imagenet.batch_size, imagenet.epochs) == ("resnet50", 224, 512, 100)
    assert (imagenet.base_lr, imagenet.weight_decay, imagenet.projector_layers) == (0.05, 1e-4, 3)
    assert (cifar.stem, cifar.image_size, cifar.batch_size, cifar.epochs) == ("cifar", 32, 512, 800)
    assert (cifar.base_lr, cifar.weight_decay, cifar.projector_layers, cifar.blur) == (0.03, 5e-4, 2, 0)
    for name, config in RECIPES.items():
        assert config.recipe == name and recipe(name) == config
        assert (config.predictor_dim, config.momentum) == (512, 0.9)
        assert config.projector_dim == 2048 or config.method != "simsiam"
        config.check()


def test_a_recipe_of_one_method_gives_another_its_own_heads():
    own = RECIPES["own-folder"]
    assert (own.method, own.backbone, own.predictor, own.projector_dim) == ("simclr", "resnet18-3stages", "none", 128)
    assert recipe("own-folder", "simclr") == own
    other = recipe("own-folder", "simsiam")
    heads = ("projector_layers", "projector_dim", "projector_hidden_dim", "predictor", "predictor_lr", "stop_gradient")
    assert [getattr(other, name) for name in heads] == [getattr(Config(), name) for name in heads]
    assert (other.image_size, other.base_lr) == (own.image_size, own.base_lr)


@pytest.mark.parametrize(("options", "init"), [([], "default"), (["--init", "None"], None)])
def test_the_recipe_for_an_own_folder_goes_on_from_the_shipped_encoder(command, few_photos, tmp_path, options, init):
    given = ["--recipe", "own-folder", "--epochs", "0", "--device", "cpu", "--workers", "0", *options]
    assert command(few_photos, "--out", tmp_path / "run", *given).code == 0
    facts = Run(tmp_path / "run").read()
    assert facts["init"] == init
    assert facts.get("embed_at") == (64 if init else None)


def test_jitter_and_grey_set_how_far_colours_change():
    strengths = ("brightness", "contrast", "saturation", "hue", "grey_probability")

    def of(**settings: float) -> list[float]:
        views = loop.augmentation_of(Config(image_size=24, blur=0, **settings))  # type: ignore[arg-type]
        return [getattr(views, name) for name in strengths]

    assert of() == pytest.approx([0.4, 0.4, 0.4, 0.1, 0.2])
    assert of(jitter=0.5, grey=0.3) == pytest.approx([0.2, 0.2, 0.2, 0.05, 0.3])
    still = loop.augmentation_of(Config(image_size=24, blur=0, jitter=0, grey=0))
    drawn = augmentation.draw(still, torch.ones(8), torch.Generator().manual_seed(0))
    one_colour = torch.tensor([200, 90, 30], dtype=torch.uint8)[None, :, None, None].expand(8, 3, 36, 36)
    views = augmentation.apply(still, one_colour.contiguous(memory_format=torch.channels_last), drawn)
    expected = (torch.tensor([200, 90, 30]) / 255 - torch.tensor(IMAGENET.mean)) / torch.tensor(IMAGENET.std)
    torch.testing.assert_close(views, expected[None, :, None, None].expand_as(views), atol=1e-4, rtol=0)


def test_blur_shrinks_with_the_view():
    assert loop.augmentation_of(Config(image_size=224)).blur_sigma == pytest.approx((0.1, 2.0))
    assert loop.augmentation_of(Config(image_size=56)).blur_sigma == pytest.approx((0.025, 0.5))
    assert loop.augmentation_of(Config(image_size=448)).blur_sigma == pytest.approx((0.1, 2.0))


# -- stopping and going on


def stop_in_step(monkeypatch: pytest.MonkeyPatch, number: int, step: int) -> None:
    """Send this process a real signal while ``step`` (from 1) draws its second view."""
    draw, calls = augmentation.draw, iter(range(1, 1_000_000))

    def drawing(*args):
        if next(calls) == 2 * step:
            os.kill(os.getpid(), number)
        return draw(*args)

    monkeypatch.setattr(augmentation, "draw", drawing)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
@pytest.mark.parametrize("step", [3, 4], ids=["mid-epoch", "end-of-epoch"])
def test_a_stopped_and_resumed_run_equals_an_undisturbed_one_to_the_bit(
    few_photos, tmp_path, monkeypatch, capsys, finished, number, step
):
    out = tmp_path / "run"
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    with monkeypatch.context() as patch:
        stop_in_step(patch, number, step)
        assert pretrain(FAST, [few_photos], Options(out=out, device="cpu", workers=0)) is False
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert f"--resume {out}" in capsys.readouterr().err
    assert state(out)["step"] == step
    torch.manual_seed(12345)  # what else drew random numbers does not matter
    assert pretrain(FAST, [], Options(resume=out, device="cpu", workers=0)) is True
    assert same(state(out), state(finished))
    assert [row["step"] for row in read_metrics(out)] == [2, 4, 6]
    for key in ("lr", "loss", "std"):  # of whole epochs: steps before the stop count, too
        assert [row[key] for row in read_metrics(out)] == [row[key] for row in read_metrics(finished.path)]


def test_a_run_may_be_stopped_again_and_again(few_photos, tmp_path, monkeypatch, finished):
    out = tmp_path / "run"
    for attempt in range(6):
        with monkeypatch.context() as patch:
            stop_in_step(patch, signal.SIGINT, 1)  # each attempt makes one step
            options: dict[str, Any] = {"resume": out} if attempt else {"out": out}
            pretrain(FAST, [] if attempt else [few_photos], Options(device="cpu", workers=0, **options))
        assert state(out)["step"] == attempt + 1
    assert same(state(out), state(finished))


def test_a_crash_after_a_checkpoint_is_undone(few_photos, tmp_path, monkeypatch, finished):
    """Rows past the checkpoint, and a half-written one, are dropped: resuming writes them anew."""
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_in_step(patch, signal.SIGINT, 3)
        pretrain(FAST, [few_photos], Options(out=out, device="cpu", workers=0))
    with (out / "metrics.jsonl").open("a") as file:
        file.write(
            '{"step": 4, "epoch": 2.0, "loss": -0.5, "std": 1, "lr": 0, "images_per_second": 1}\n{"step": 6, "ep'
        )
    assert pretrain(FAST, [], Options(resume=out, device="cpu", workers=0))
    assert same(state(out), state(finished))
    rows = read_metrics(out)
    assert [row["step"] for row in rows] == [2, 4, 6]
    assert rows[1]["loss"] != -0.5


def test_checkpoints_are_written_on_the_way(few_photos, tmp_path, monkeypatch, finished):
    """A crash, not a signal: what was saved on the way is enough to go on."""
    draw, calls = augmentation.draw, iter(range(100))

    def drawing(*args):
        if next(calls) == 2 * 4:
            raise ZeroDivisionError("the power went")
        return draw(*args)

    out = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(augmentation, "draw", drawing)
        pretrain(FAST, [few_photos], Options(out=out, device="cpu", workers=0, checkpoint_minutes=0))
    assert state(out)["step"] == 4
    assert pretrain(FAST, [], Options(resume=out, device="cpu", workers=0))
    assert same(state(out), state(finished))


def test_resuming_a_finished_run_changes_nothing(few_photos, tmp_path):
    run = train(dataclasses.replace(FAST, epochs=1), few_photos, tmp_path / "run")
    before, rows = state(run), run.metrics_file.read_text()
    assert pretrain(run.config(), [], Options(resume=run.path, device="cpu", workers=0))
    assert same(state(run), before) and run.metrics_file.read_text() == rows


def test_ctrl_c_in_another_process_exits_with_130_and_resumes(few_photos, tmp_path):
    """The command itself: SIGINT in the middle of training, then --resume, equal to a run in this process."""
    out = tmp_path / "run"
    options = [option for option in FAST_OPTIONS if not option.startswith("--epochs")]
    arguments = [sys.executable, "-m", "simsiam_retrieval.pretrain", "--device", "cpu", "--workers", "0"]
    with subprocess.Popen(
        [*arguments, str(few_photos), "--out", str(out), *options, "--epochs", "10"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        deadline = time.monotonic() + 120
        while not read_metrics(out) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr
    assert stdout == f"{out}\n"
    assert f"stopped; go on with: python -m simsiam_retrieval.pretrain --resume {out}" in stderr
    assert "Traceback" not in stderr
    assert 0 < state(out)["step"] < 20
    config = dataclasses.replace(FAST, epochs=10)
    assert pretrain(config, [], Options(resume=out, device="cpu", workers=0))
    undisturbed = train(config, few_photos, tmp_path / "undisturbed")
    assert same(state(out), state(undisturbed))


def test_a_second_ctrl_c_is_not_swallowed(few_photos, tmp_path, monkeypatch):
    """Someone who presses twice wants out now."""
    draw, calls = augmentation.draw, iter(range(100))

    def drawing(*args):
        if next(calls) in (4, 5):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.5)  # the handler runs here
        return draw(*args)

    monkeypatch.setattr(augmentation, "draw", drawing)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background may ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            pretrain(FAST, [few_photos], Options(out=tmp_path / "run", device="cpu", workers=0))
    finally:
        signal.signal(signal.SIGINT, before)


def test_killed_at_once_and_resumed(few_photos, tmp_path, finished):
    """SIGKILL leaves no time to write anything; whatever is there must do, and lead to the same end."""
    out = tmp_path / "run"
    words = [few_photos, "--out", out, "--device", "cpu", "--workers", "0", "--checkpoint-minutes", "0", *FAST_OPTIONS]
    process = subprocess.Popen([sys.executable, "-m", "simsiam_retrieval.pretrain", *map(str, words)])
    deadline = time.monotonic() + 200
    while not (out / "checkpoint.pt").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert 1 <= state(out)["step"] <= 6
    (out / ".checkpoint.pt.abc.tmp").write_bytes(b"half")  # as if it had died in the middle of writing one
    assert pretrain(FAST, [], Options(resume=out, device="cpu", workers=0))
    assert same(state(out), state(finished))
    assert not list(out.glob(".checkpoint*"))
    steps = [row["step"] for row in read_metrics(out)]
    assert steps == sorted(set(steps)) and steps[-1] == 6


# -- the command


def test_the_command_trains_and_prints_the_run_folder(command, few_photos, tmp_path, finished):
    outcome = command(few_photos, "--out", tmp_path / "run", "--device", "cpu", "--workers", "0", *FAST_OPTIONS)
    assert outcome.code == 0
    assert outcome.out == f"{tmp_path / 'run'}\n"
    assert f"python -m simsiam_retrieval.export {tmp_path / 'run'}" in outcome.err
    assert same(state(tmp_path / "run"), state(finished))


def test_without_out_a_new_folder_under_runs(command, few_photos):
    outcome = command(few_photos, "--device", "cpu", "--workers", "0", *FAST_OPTIONS, "--epochs", "0")
    assert outcome.code == 0
    folder = Path(outcome.out.strip())
    assert folder.parent == Path("runs") and (folder / "config.json").is_file()


def test_options_override_a_recipe(command, few_photos, tmp_path):
    options = ["--recipe", "cifar", *FAST_OPTIONS, "--epochs", "0", "--device", "cpu", "--workers", "0"]
    assert command(few_photos, "--out", tmp_path / "run", *options).code == 0
    written = Run(tmp_path / "run").config()
    assert (written.recipe, written.stem, written.base_lr, written.weight_decay) == ("cifar", "cifar", 0.03, 5e-4)
    assert (written.epochs, written.image_size, written.projector_dim) == (0, 20, 16)


def test_broken_images_are_named_and_left_out(command, photos, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(photos / "birds", data)
    (data / "broken.jpg").write_bytes(b"no picture")
    outcome = command(data, "--out", tmp_path / "run", "--device", "cpu", "--workers", "0", *FAST_OPTIONS)
    assert outcome.code == 0
    assert "1 files left out" in outcome.err and "broken.jpg: not an image" in outcome.err
    assert Run(tmp_path / "run").read()["data"]["rejected"] == 1


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--epohcs", "3"], "--epochs"),
        (["--backbone", "resnet99"], "resnet50"),
        (["--epochs", "many"], "--epochs"),
        (["--method", "dino"], "simsiam"),
    ],
)
def test_misspelt_options_are_explained(command, arguments, hint):
    outcome = command(*arguments)
    assert outcome.code == 2 and outcome.out == ""
    assert hint in outcome.err and "Traceback" not in outcome.err
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--recipe", "imagnet"], ["imagnet", "imagenet"]),
        (["--recipe=nothing"], ["nothing", "photos"]),
        (["--image-size", "4"], ["--image-size 4", "8 to 1024"]),
        (["--image-size", "4000"], ["--image-size 4000"]),
        (["--batch-size", "1"], ["--batch-size 1"]),
        (["--epochs", "-1"], ["--epochs -1"]),
        (["--base-lr", "nan"], ["--base-lr nan"]),
        (["--base-lr", "-0.1"], ["--base-lr"]),
        (["--seed", "-1"], ["--seed -1"]),
        (["--seed", str(2**40)], ["--seed"]),
        (["--min-scale", "0"], ["--min-scale"]),
        (["--blur", "1.5"], ["--blur 1.5"]),
        (["--projector-layers", "0"], ["--projector-layers 0"]),
        (["--predictor-dim", "0"], ["--predictor-dim 0"]),
        (["--device", "cuda:99"], ["--device cuda:99"]),
        (["--device", "toaster"], ["--device toaster"]),
        (["--device", "meta"], ["--device meta"]),
        (["no-such-folder"], ["no-such-folder", "no such file or folder"]),
        (["--resume", "no-such-run"], ["no-such-run", "not a run folder"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_the_user_can_mend(command, arguments, words):
    refused(command(*arguments), *words)
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [{}, {"notes.txt": b"words"}, {"a.jpg": b"no picture", "b.png": b""}],
    ids=["empty", "other files", "broken images"],
)
def test_a_folder_without_images(command, tmp_path, content):
    data = tmp_path / "data"
    data.mkdir()
    for name, body in content.items():
        (data / name).write_bytes(body)
    refused(command(data, "--out", "run", "--workers", "0"), "image")
    refused(command(data, "--workers", "0"), "image")
    assert list(Path.cwd().iterdir()) == []


def test_one_image_is_not_enough(command, photos):
    photo = photos / "birds" / "kingfisher.jpg"
    refused(command(photo, "--out", "run", "--workers", "0", "--device", "cpu"), "one image")
    assert list(Path.cwd().iterdir()) == []


def test_a_folder_whose_name_is_not_utf8(command, photos, tmp_path):
    data = tmp_path / os.fsdecode(b"caf\xe9")
    shutil.copytree(photos / "birds", data)
    outcome = command(data, "--out", "run", "--device", "cpu", "--workers", "0", *FAST_OPTIONS, "--epochs", "1")
    assert outcome.code == 0
    assert command("--resume", "run", "--device", "cpu", "--workers", "0").code == 0


@pytest.mark.parametrize("kind", ["run", "other folder", "file"])
def test_out_that_is_in_use(command, few_photos, tmp_path, finished, kind):
    out = tmp_path / "out"
    if kind == "run":
        shutil.copytree(finished.path, out)
    elif kind == "other folder":
        (out / "thesis").mkdir(parents=True)
    else:
        out.write_text("thesis")
    before = sorted(tmp_path.rglob("*"))
    refused(command(few_photos, "--out", out, "--workers", "0"), str(out), "--out")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_diverging_run_says_so(command, few_photos, finished):
    options = [*FAST_OPTIONS, "--epochs", "30", "--base-lr", "1000", "--momentum", "0.99", "--weight-decay", "1"]
    outcome = command(few_photos, "--out", "run", "--device", "cpu", "--workers", "0", *options)
    refused(outcome, "not a number", "--base-lr")
    # no checkpoint is written of such a run: it can start over, with other settings or with its own
    assert not Path("run/checkpoint.pt").exists()
    refused(command("--resume", "run", "--device", "cpu", "--workers", "0"), "not a number")
    assert command(few_photos, "--out", "run", "--device", "cpu", "--workers", "0", *FAST_OPTIONS).code == 0
    assert same(state(Path("run")), state(finished))
    assert Run(Path("run")).config() == finished.config()


def test_a_run_that_broke_off_before_its_first_checkpoint_starts_over(few_photos, tmp_path, monkeypatch, finished):
    """The same images, settings and first weights, by --resume."""
    initial = tmp_path / "initial"
    train(dataclasses.replace(FAST, epochs=1, seed=9), few_photos, initial)
    whole = train(FAST, few_photos, tmp_path / "whole", init=str(initial))
    out = tmp_path / "run"

    def crash(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Run, "save_checkpoint", crash)
        with pytest.raises(KeyboardInterrupt):
            pretrain(
                FAST, [few_photos], Options(out=out, init=str(initial), device="cpu", workers=0, checkpoint_minutes=0)
            )
    assert not (out / "checkpoint.pt").exists()
    assert pretrain(FAST, [], Options(resume=out, device="cpu", workers=0))
    assert same(state(out), state(whole)) and not same(state(out), state(finished))
    assert [row["step"] for row in read_metrics(out)] == [row["step"] for row in read_metrics(whole.path)]


def test_a_finished_run_is_trained_on(command, few_photos, stopped, finished):
    """As though more epochs had been asked for at the start, from the checkpoint on; the former end is recorded."""
    outcome = command("--resume", stopped, "--epochs", "5", "--device", "cpu", "--workers", "0")
    assert outcome.code == 0
    described = json.loads((stopped / "config.json").read_text())
    assert described["config"]["epochs"] == 5 and described["trained_on"] == [{"epochs": 3, "steps": 0}]
    rows = read_metrics(stopped)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5]
    assert rows[:3] == read_metrics(finished.path)
    lr = FAST.base_lr * FAST.batch_size / 256
    assert rows[3]["lr"] == pytest.approx(lr * cosine(7, 10), abs=1e-8) and rows[3]["lr"] > rows[2]["lr"]
    assert state(stopped)["step"] == 10
    outcome = command("--resume", stopped, "--device", "cpu", "--workers", "0")
    assert outcome.code == 0 and "larger --epochs" in outcome.err
    assert state(stopped)["step"] == 10


def test_an_unfinished_run_keeps_its_epochs(command, few_photos, tmp_path, monkeypatch):
    run = train(FAST, few_photos, tmp_path / "run").path
    half = state(run) | {"step": 3}
    torch.save(half, run / "checkpoint.pt")
    refused(command("--resume", run, "--epochs", "9", "--device", "cpu"), "--epochs", "not at its end")
    refused(command("--resume", run, "--epochs", "2", "--device", "cpu"), "--epochs")


# -- a run of so many minutes


class Clock:
    """Time that passes by a fixed amount at each step of training, and at each of the monitor's looks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: float, look: float) -> None:
        self.now, self.step, self.look = 1000.0, step, look
        self.steps = 0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        add, look_ = training_report.Report.add, monitor.Monitor.look

        def stepped(*arguments: Any) -> Any:
            self.now += self.step
            self.steps += 1
            return add(*arguments)

        def looked(*arguments: Any) -> Any:
            self.now += self.look
            return look_(*arguments)

        monkeypatch.setattr(training_report.Report, "add", stepped)
        monkeypatch.setattr(monitor.Monitor, "look", looked)


def test_minutes_become_epochs_that_end_in_time(few_photos, tmp_path, monkeypatch):
    clock = Clock(monkeypatch, step=6.0, look=3.0)
    run = train(FAST, few_photos, tmp_path / "run", minutes=4)
    assert clock.now - 1000 == pytest.approx(240, rel=0.05)
    config, steps = run.config(), state(run)["step"]
    assert config.steps == steps and config.epochs == math.ceil(steps / 2)
    assert clock.steps > steps  # the trial's
    assert read_metrics(run.path)[-1]["lr"] < 0.01 * FAST.base_lr * FAST.batch_size / 256


def test_a_run_of_minutes_is_that_of_its_settings(few_photos, tmp_path, monkeypatch):
    Clock(monkeypatch, step=8.0, look=0.0)
    run = train(FAST, few_photos, tmp_path / "run", minutes=1)
    assert 2 <= state(run)["step"] <= 5
    assert same(state(run), state(train(run.config(), few_photos, tmp_path / "same")))


def test_resume_keeps_to_the_epochs_of_a_run_of_minutes(command, few_photos, tmp_path, monkeypatch):
    config = dataclasses.replace(FAST, epochs=3, steps=5)  # as `minutes` leaves it
    whole = train(config, few_photos, tmp_path / "whole")
    out = tmp_path / "run"
    monkeypatch.setattr(loop, "checkpoint_clock", lambda *given: lambda done: done == 3)
    save = Run.save_checkpoint

    def once(self: Run, values: dict[str, Any]) -> None:
        save(self, values)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Run, "save_checkpoint", once)
        with pytest.raises(KeyboardInterrupt):
            pretrain(config, [few_photos], Options(out=out, device="cpu", workers=0))
    assert state(out)["step"] == 3
    refused(command("--resume", out, "--minutes", "3", "--device", "cpu"), "--minutes")
    assert command("--resume", out, "--device", "cpu", "--workers", "0").code == 0
    assert same(state(out), state(whole)) and state(out)["step"] == 5


def test_minutes_that_leave_no_time_for_a_step(command, few_photos, monkeypatch):
    refused(command(few_photos, "--minutes", "-1", "--device", "cpu"), "--minutes")
    monkeypatch.setattr(command_module, "BEGAN", 1000.0)
    Clock(monkeypatch, 20.0, 0.0)
    outcome = command(
        few_photos, "--out", "run", "--minutes", "0.5", "--device", "cpu", "--workers", "0", *FAST_OPTIONS
    )
    refused(outcome, "--minutes 0.5", "give more")
    assert not Path("run").exists()


# -- what can be wrong with a run that is to go on


@pytest.fixture
def stopped(finished: Run, tmp_path: Path) -> Path:
    """A copy of a run, to be spoilt."""
    return Path(shutil.copytree(finished.path, tmp_path / "stopped"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def resuming_is_refused(command: Command, run: Path, *words: str) -> None:
    before = contents(run)
    refused(command("--resume", run, "--device", "cpu", "--workers", "0"), *words)
    assert contents(run) == before


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe\x00", b"[]", b"null", b'"text"', b"{}", b'{"config": null}', b'{"config": []}'],
    ids=repr,
)
def test_a_damaged_config(command, stopped, content):
    (stopped / "config.json").write_bytes(content)
    resuming_is_refused(command, stopped, "config.json")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("image_size", "large"),
        ("image_size", None),
        ("image_size", 16.5),
        ("image_size", 1),
        ("backbone", "resnet99"),
        ("stem", 3),
        ("epochs", [1]),
        ("invented_by_a_newer_version", 1),
    ],
)
def test_a_config_with_a_value_that_cannot_be(command, stopped, name, value):
    described = json.loads((stopped / "config.json").read_text())
    described["config"][name] = value
    (stopped / "config.json").write_text(json.dumps(described))
    resuming_is_refused(command, stopped)


@pytest.mark.parametrize("damage", ["missing", "empty", "text", "half", "flipped", "zeros", "list", "keys", "folder"])
def test_a_damaged_checkpoint(command, stopped, damage):
    file = stopped / "checkpoint.pt"
    whole = file.read_bytes()
    file.unlink()
    match damage:
        case "empty":
            file.write_bytes(b"")
        case "text":
            file.write_text("a checkpoint, once")
        case "half":
            file.write_bytes(whole[: len(whole) // 2])
        case "flipped":  # the pickle's opcodes, which come first in the archive
            place = whole.index(b"data.pkl") + 100
            file.write_bytes(
                whole[:place] + bytes(255 - byte for byte in whole[place : place + 64]) + whole[place + 64 :]
            )
        case "zeros":
            file.write_bytes(bytes(10_000))
        case "list":
            torch.save([1, 2, 3], file)
        case "keys":
            torch.save({"step": 3}, file)
        case "folder":
            file.mkdir()
            with pytest.raises(UserError):
                Run(stopped).load_checkpoint()
            return
    resuming_is_refused(command, stopped, "checkpoint.pt")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_random_bytes_are_never_more_than_a_damaged_checkpoint(tmp_path):
    """Corrupted archives and streams of pickle opcodes: UserError or a value, nothing else."""
    run = Run(tmp_path)
    torch.save({"step": 3, "model": {"weight": torch.arange(20.0)}}, run.checkpoint_file)
    zipped = run.checkpoint_file.read_bytes()
    torch.save({"step": 3, "model": torch.arange(20.0)}, run.checkpoint_file, _use_new_zipfile_serialization=False)
    legacy = run.checkpoint_file.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(200):
        for whole in (zipped, legacy):
            data = bytearray(whole)
            for place in random.integers(0, len(data), random.integers(1, 8)):
                data[place] = random.integers(0, 256)
            run.checkpoint_file.write_bytes(
                data[: random.integers(1, len(data) + 1)] if random.random() < 0.3 else data
            )
            try:
                run.load_checkpoint()
            except UserError as error:
                assert "\n" not in str(error)


def test_a_checkpoint_never_runs_code(tmp_path):
    """A pickle that would make a folder when loaded is refused instead."""

    class Malicious:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made-by-a-checkpoint"),)

    run = Run(tmp_path)
    torch.save({"step": Malicious()}, run.checkpoint_file)
    with pytest.raises(UserError):
        run.load_checkpoint()
    assert not (tmp_path / "made-by-a-checkpoint").exists()


@pytest.mark.parametrize("other", [{"backbone": "resnet34"}, {"projector_dim": 24}, {"stem": "cifar"}])
def test_a_checkpoint_of_another_configuration(command, stopped, other):
    described = json.loads((stopped / "config.json").read_text())
    described["config"].update(other)
    (stopped / "config.json").write_text(json.dumps(described))
    resuming_is_refused(command, stopped, "checkpoint.pt", "another run")


def test_images_that_have_changed(command, few_photos, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(few_photos / "birds", data)
    Image.new("RGB", (40, 40)).save(data / "black.png")
    run = train(dataclasses.replace(FAST, epochs=1), data, tmp_path / "run").path
    Image.new("RGB", (40, 40), "red").save(data / "black.png")
    resuming_is_refused(command, run, "have changed")
    shutil.rmtree(data)
    resuming_is_refused(command, run, str(data))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--epochs", "2"], ["--epochs", "larger"]),
        (["--base-lr", "0.1", "--seed=3"], ["--base-lr", "--seed"]),
        (["--out", "elsewhere"], ["--out"]),
    ],
)
def test_resume_goes_on_under_the_run_s_own_settings(command, stopped, arguments, words):
    before = contents(stopped)
    refused(command("--resume", stopped, *arguments, "--device", "cpu"), *words)
    assert contents(stopped) == before and list(Path.cwd().iterdir()) == []


def test_resume_with_the_same_settings_spelt_out(command, stopped):
    assert command("--resume", stopped, *FAST_OPTIONS, "--device", "cpu", "--workers", "0").code == 0


def test_a_run_that_another_process_writes_to(command, stopped):
    with FileLock(stopped / ".lock"):
        resuming_is_refused(command, stopped, "another process")
    assert command("--resume", stopped, "--device", "cpu", "--workers", "0").code == 0


def test_two_new_runs_on_one_folder_at_once(command, few_photos, tmp_path, finished, monkeypatch):
    """The other run appears, and ends, while this one still decodes: it must not be overwritten."""
    out = tmp_path / "out"
    load = loading.load_store

    def slowly(*args, **options):
        shutil.copytree(finished.path, out)
        return load(*args, **options)

    monkeypatch.setattr(loading, "load_store", slowly)
    outcome = command(few_photos, "--out", out, "--device", "cpu", "--workers", "0", *FAST_OPTIONS, "--seed", "5")
    refused(outcome, str(out))
    assert contents(out) == contents(finished.path)


def test_the_lock_is_free_after_a_run(finished):
    Run(finished.path).lock().release()


def test_a_full_disk_keeps_the_checkpoint_before(few_photos, stopped, monkeypatch):
    def full(value, file, *args, **options):
        Path(file).write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    def full_by_torch(value, file, *args, **options):
        raise RuntimeError("[enforce fail at inline_container.cc:659] . unexpected pos 576 vs 470")

    before = contents(stopped)
    for save in (full, full_by_torch):
        monkeypatch.setattr(torch, "save", save)
        with pytest.raises(UserError, match="disk full"):
            Run(stopped).save_checkpoint({"step": 1})
    assert contents(stopped) == before


def test_a_disk_that_is_full_for_metrics(stopped):
    run = Run(stopped)
    run.metrics_file.unlink(missing_ok=True)
    run.metrics_file.symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"metrics\.jsonl: cannot be written"):
        run.append_metrics({"step": 1})


def test_a_damaged_line_of_metrics_costs_itself(tmp_path):
    run = Run(tmp_path)
    lines = [
        '{"step": 1}',
        '{"st',
        "5",
        "[" * 99_999,
        '{"step": "x"}',
        '{"epoch": 2}',
        '{"step": 2}',
        '{"step": 3}',
        '{"st',
    ]
    run.metrics_file.write_text("\n".join(lines))
    run.truncate_metrics(2)
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "5",
        "[" * 99_999,
        '{"config": 5}',
        '{"config": {"epochs": []}}',
        '{"data": 5}',
        '{"data": {"roots": [5]}}',
    ],
)
def test_a_config_that_is_none_is_one_line(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    (tmp_path / "rejected.jsonl").write_text('5\n[]\n{"path": 5, "reason": 1}\n' + "[" * 99_999)
    with pytest.raises(UserError):
        stored_config(tmp_path)
    assert Run(tmp_path).read_rejected() == {}


# -- shards, the cache, files that are known to be bad


def pack(folder: Path, shard: Path) -> Path:
    """The images of a folder in a tar, in the order in which the folder lists, beside a label each."""
    with tarfile.open(shard, "w") as tar:
        for index, image in enumerate(list_images([folder]).images):
            for suffix, content in ((image.path.suffix, image.path.read_bytes()), (".cls", b"7")):
                info = tarfile.TarInfo(f"{index:06d}{suffix}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return shard


def rows_without_speed(run: Path) -> list[dict[str, Any]]:
    return [{key: row[key] for key in row if key != "images_per_second"} for row in read_metrics(run)]


def test_shards_and_a_cache_give_the_run_that_loose_files_give(command, few_photos, tmp_path, finished):
    shard = pack(few_photos, tmp_path / "a.tar")
    options = ["--device", "cpu", "--workers", "0", "--cache", tmp_path / "cache", *FAST_OPTIONS]
    for name in ("filling", "filled"):
        outcome = command(shard, "--out", tmp_path / name, *options)
        assert outcome.code == 0, outcome.err
        assert same(state(tmp_path / name), state(finished))
        assert rows_without_speed(tmp_path / name) == rows_without_speed(finished.path)
        facts, expected = Run(tmp_path / name).read()["data"], finished.read()["data"]
        assert (facts["fingerprint"], facts["images"]) == (expected["fingerprint"], 38)
        assert facts["cache"] == str(tmp_path / "cache") and expected["cache"] is None
    seeded = command(shard, "--out", tmp_path / "seed", *options, "--seed", "1")
    assert seeded.code == 0 and not same(state(tmp_path / "seed")["model"], state(finished)["model"])


def test_a_resumed_run_finds_its_cache_and_opens_no_image(few_photos, tmp_path, monkeypatch, finished):
    data, out = tmp_path / "data", tmp_path / "run"
    shutil.copytree(few_photos, data)
    (data / "broken.jpg").write_bytes(b"no picture")
    with monkeypatch.context() as patch:
        stop_in_step(patch, signal.SIGINT, 3)
        pretrain(FAST, [data], Options(out=out, cache=tmp_path / "cache", device="cpu", workers=0))
    for image in list_images([data]).images:
        image.path.write_bytes(b"\0" * image.size)
        os.utime(image.path, ns=(0, image.mtime_ns))
    assert pretrain(FAST, [], Options(resume=out, device="cpu", workers=0))
    assert same(state(out), state(finished))


def test_files_that_were_rejected_are_not_tried_again_by_resume(few_photos, tmp_path, monkeypatch, capsys, finished):
    data, out = tmp_path / "data", tmp_path / "run"
    shutil.copytree(few_photos, data)
    (data / "broken.jpg").write_bytes(b"no picture")
    (data / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"no picture either")
    with monkeypatch.context() as patch:
        stop_in_step(patch, signal.SIGINT, 3)
        pretrain(FAST, [data], Options(out=out, device="cpu", workers=0))
    lines = [json.loads(line) for line in (out / "rejected.jsonl").read_text().splitlines()]
    assert [os.fsencode(Path(line["path"]).name) for line in lines] == [b"broken.jpg", b"caf\xe9.jpg"]
    assert all("not an image" in line["reason"] and line["size"] > 0 and line["mtime_ns"] > 0 for line in lines)
    tried: list[str] = []
    read = decode_squares.read_image
    monkeypatch.setattr(
        decode_squares, "read_image", lambda path, *options: tried.append(path.name) or read(path, *options)
    )
    capsys.readouterr()
    assert pretrain(FAST, [], Options(resume=out, device="cpu", workers=0))
    assert len(tried) == 38 and "broken.jpg" not in tried
    assert "2 files left out" in capsys.readouterr().err
    assert same(state(out), state(finished))
    os.utime(data / "broken.jpg", ns=(0, 0))
    assert pretrain(FAST, [], Options(resume=out, device="cpu", workers=0))
    assert tried.count("broken.jpg") == 1
    (out / "rejected.jsonl").write_text('{"path": 3}\n[1]\n{"reason"\n')
    assert pretrain(FAST, [], Options(resume=out, device="cpu", workers=0))
    assert tried.count("broken.jpg") == 2
    assert len((out / "rejected.jsonl").read_text().splitlines()) == 2


def test_a_run_without_rejected_files_has_no_list_of_them(finished):
    assert not finished.rejected_file.exists() and finished.read_rejected() == {}


def test_runs_of_the_first_version_resume(few_photos, tmp_path, monkeypatch, finished):
    """Their fingerprints are of all pixels, and they know nothing of caches."""
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_in_step(patch, signal.SIGINT, 3)
        pretrain(FAST, [few_photos], Options(out=out, device="cpu", workers=0))
    store = load_store(list_images([few_photos]).images, FAST.store_side, workers=0)
    pixels = hashlib.sha256(str((38, 3, 20, 20)).encode() + store.take(np.arange(38)).tobytes()).hexdigest()[:16]
    described = json.loads((out / "config.json").read_text())
    del described["data"]["cache"]
    for fingerprint in (pixels[::-1], None):
        described["data"]["fingerprint"] = fingerprint
        (out / "config.json").write_text(json.dumps(described))
        with pytest.raises(UserError, match="have changed"):
            pretrain(FAST, [], Options(resume=out, device="cpu", workers=0))
    described["data"]["fingerprint"] = pixels
    (out / "config.json").write_text(json.dumps(described))
    assert pretrain(FAST, [], Options(resume=out, device="cpu", workers=0))
    assert same(state(out), state(finished))


def test_what_does_not_fit_into_memory_is_kept_in_the_user_s_data_directory(
    command, few_photos, tmp_path, monkeypatch, home_dir, finished
):
    monkeypatch.setattr(storing, "free_memory", lambda: 0)
    outcome = command(few_photos, "--out", tmp_path / "run", "--device", "cpu", "--workers", "0", *FAST_OPTIONS)
    assert outcome.code == 0 and str(home_dir / "cache") in outcome.err
    assert (home_dir / "cache" / "side-20-v1" / "pixels.bin").stat().st_size == 38 * 3 * 20 * 20
    assert same(state(tmp_path / "run"), state(finished))


def test_odd_archives_are_named_and_left_out(command, few_photos, tmp_path, finished):
    data = tmp_path / "data"
    data.mkdir()
    shard = pack(few_photos, data / "a.tar")
    shard.write_bytes(shard.read_bytes().rstrip(b"\0"))  # its end marker is gone, and the last label's padding
    (data / "b.tar.gz").write_bytes(b"x")
    (data / "c.tar").write_bytes(b"words")
    outcome = command(data, "--out", tmp_path / "run", "--device", "cpu", "--workers", "0", *FAST_OPTIONS)
    assert outcome.code == 0 and same(state(tmp_path / "run"), state(finished))
    assert "3 files left out" in outcome.err
    for line in ("a.tar: cut off", "b.tar.gz: a compressed archive; decompress it first", "c.tar: not a tar archive"):
        assert line in outcome.err
    shard.unlink()
    refused(command(data, "--out", "new", "--workers", "0"), "no image files", "b.tar.gz", "decompress it first")
    refused(command(data / "b.tar.gz", "--out", "new", "--workers", "0"), "b.tar.gz", "decompress it first")
    assert list(Path.cwd().iterdir()) == []


def test_a_cache_in_an_impossible_place(command, few_photos, tmp_path):
    (tmp_path / "file").write_text("thesis")
    refused(command(few_photos, "--cache", tmp_path / "file", "--workers", "0"), str(tmp_path / "file"), "--cache")
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.gpu
def test_a_run_on_a_gpu(few_photos, tmp_path):
    config = dataclasses.replace(FAST, batch_size=38, epochs=40, base_lr=0.6, projector_dim=128, predictor_dim=32)
    assert pretrain(config, [few_photos], Options(out=tmp_path / "run", device="cuda", workers=0))
    rows = read_metrics(tmp_path / "run")
    assert rows[-1]["loss"] < -0.2 and rows[-1]["std"] > 0.9
    assert Run(tmp_path / "run").read()["device"]["type"] == "cuda"


# -- the other methods


METHOD_SIZES = {"projector_hidden_dim": 24, "projector_dim": 12, "predictor_dim": 8}


@pytest.mark.parametrize("method", [name for name in METHODS if name != "simsiam"])
def test_every_method_trains_and_resumes(method: str, few_photos: Path, tmp_path: Path) -> None:
    """To the bit, with the queue or prototypes that it keeps; its backbone is one like any, for all that follows."""
    config = dataclasses.replace(recipe("photos", method), image_size=20, store_size=20, batch_size=16, epochs=2)
    config = dataclasses.replace(config, **METHOD_SIZES, **({"queue_size": 40} if method == "moco-v2" else {}))
    whole = train(config, few_photos, tmp_path / "whole")
    first = tmp_path / "first"
    with pytest.MonkeyPatch.context() as patch:
        stop_in_step(patch, signal.SIGINT, 3)
        assert not pretrain(config, [few_photos], Options(out=first, device="cpu", workers=0))
    assert pretrain(config, [], Options(resume=first, device="cpu", workers=0))
    assert same(state(first)["model"], state(whole)["model"])
    assert math.isfinite(read_metrics(whole.path)[-1]["loss"])
    backbone, _ = load_backbone(whole.path)
    plain = build_backbone("resnet18")
    assert [type(module) for module in backbone.modules()] == [type(module) for module in plain.modules()]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--method", "byol", "--similarity", "cross-entropy"],
            "--similarity belongs to --method simsiam, not",
        ),
        (["--method", "moco-v2", "--no-stop-gradient"], "--no-stop-gradient belongs to --method simsiam or simclr or"),
        (["--queue-size", "9"], "--queue-size belongs to --method moco-v2, not to simsiam"),
        (["--alternation", "5", "--eta-average", "0.8"], "choose one"),
        (["--alternation", "5", "--no-stop-gradient"], "has no effect with"),
        (["--method", "moco-v2", "--batch-size", "12"], "--batch-size 16 does"),
    ],
)
def test_settings_of_another_method_are_refused(command, few_photos, tmp_path, arguments, words):
    outcome = command(few_photos, "--out", tmp_path / "run", *FAST_OPTIONS, *arguments)
    refused(outcome, words)
    assert not (tmp_path / "run").exists()
