"""``--minutes``: as many epochs as there is time for."""

import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import pytest

from simsiam_retrieval import pretrain as command_module
from simsiam_retrieval.training import loop, monitor, training_report
from simsiam_retrieval.training.run_files import read_metrics
from simsiam_retrieval.training.run_folder import Run
from simsiam_retrieval.training.run_options import Options
from simsiam_retrieval.training.trainer import pretrain
from tests.support.small_runs import FAST, FAST_OPTIONS, refused, same, state, train

pytestmark = pytest.mark.usefixtures("rows_by_epoch")


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
