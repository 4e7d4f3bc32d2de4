"""Stopping, killing and resuming a run: equal to an undisturbed one, to the bit."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest
import torch

from simsiam_retrieval.training import augmentation
from simsiam_retrieval.training.optimizer import cosine
from simsiam_retrieval.training.run_files import read_metrics
from simsiam_retrieval.training.run_folder import Run
from simsiam_retrieval.training.run_options import Options
from simsiam_retrieval.training.trainer import pretrain
from tests.support.small_runs import FAST, FAST_OPTIONS, refused, same, state, stop_in_step, train

pytestmark = pytest.mark.usefixtures("rows_by_epoch")


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
