"""What a run reports while it trains: rows of metrics, the monitor's measurements, the alarm."""

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..methods.base import collapse_free_std
from .config import Config
from .data_split import Plan
from .monitor import Reading, explain, verdict
from .run_files import read_metrics
from .run_folder import Run

ROW_SECONDS = 5
JUDGED_FROM = 20  # steps before which outputs of a healthy run are close together, too
CAN_COLLAPSE = ("simsiam", "byol")  # other losses push images apart, and MoCo's outputs share a mean for long
LOOK_SECONDS = 20  # shortest time between the monitor's measurements after the first epoch
LOOK_SHARE = 0.05  # largest fraction of the time for measurements after the first epoch


@dataclass
class Progress:
    """The progress of a run.

    Attributes:
        epoch: Finished epochs.
        step: Finished steps.
        total_steps: Steps of the run.
        loss: Mean loss since the last row.
        std: Std of the normalised projections, times sqrt(dim): 1 is healthy, 0 is collapse.
        images_per_second: Speed since the last row.
        seconds: Time of the steps since the last row.
        look_seconds: Time of the monitor's measurement, if there was one.
        reading: The monitor's measurement, if there was one.
        alarm: Set once, when the run begins to collapse.
    """

    epoch: int
    step: int
    total_steps: int
    loss: float
    std: float
    images_per_second: float
    seconds: float = 0.0
    look_seconds: float = 0.0
    reading: Reading | None = None
    alarm: str | None = None


class NotFinite(ArithmeticError):
    """The loss or the network's outputs are NaN or infinite."""


class Report:
    """Averages steps into rows of metrics. The device is waited for only when a row is written.

    Args:
        config: Settings of the run.
        run: The run folder; its earlier rows are read.
        plan: The steps of the run.
        look: Returns the monitor's measurement.
        on_progress: Called with the progress at each row.
        log: Called with each row, in addition to ``metrics.jsonl``.
    """

    def __init__(
        self,
        config: Config,
        run: Run,
        plan: Plan,
        look: Callable[[], Reading],
        on_progress: Callable[[Progress], None],
        log: Callable[[dict[str, Any]], None] = lambda row: None,
    ) -> None:
        self.config, self.run, self.plan, self.look = config, run, plan, look
        self.on_progress, self.log = on_progress, log
        self.measured: list[Tensor] = []
        self.since = self.looked_at = time.monotonic()
        self.look_took = 0.0
        self.best_rankme = max((row.get("rankme", 0.0) for row in read_metrics(run.path)), default=0.0)
        self.alarmed = False
        # collapses happen early: measure four times in the first epoch, if it is long enough
        first = plan.steps_per_epoch
        self.early = {max(1, first * quarter // 4) for quarter in (1, 2, 3, 4)} if first >= JUDGED_FROM else {first}

    def add(self, step: int, measured: Tensor, lr: float) -> str | None:
        """Add one step.

        Args:
            step: Finished steps.
            measured: float32 (2,), loss and std of the normalised projections, on the device.
            lr: Learning rate.

        Returns:
            The alarm, if the run has just been found to collapse.

        Raises:
            NotFinite: A value is NaN or infinite.
        """
        self.measured.append(measured)
        epoch_ends = step % self.plan.steps_per_epoch == 0
        now = time.monotonic()
        if now - self.since < ROW_SECONDS and not epoch_ends and step not in self.early:
            return None
        values = torch.stack(self.measured).cpu()  # waits for the device
        values[:, 1] /= collapse_free_std(self.config.projector_dim)
        loss, std = values.mean(dim=0).tolist()
        last_std = float(values[-1, 1])
        seconds = time.monotonic() - self.since
        rate = self.plan.batch_size * len(values) / seconds
        reading = self._look(step, now, epoch_ends)
        if not math.isfinite(loss):
            raise NotFinite(step)
        epoch = step / self.plan.steps_per_epoch
        judged = reading if step >= JUDGED_FROM else None
        kind = None
        if self.config.method in CAN_COLLAPSE:
            kind = verdict(last_std, judged, self.config.projector_dim, self.best_rankme)
        if reading is not None:
            self.best_rankme = max(self.best_rankme, reading.rankme)
        row: dict[str, Any] = {
            "step": step,
            "epoch": round(epoch, 4),
            "loss": round(loss, 6),
            "std": round(std, 6),
            "lr": round(lr, 8),
            "images_per_second": round(rate, 2),
            **(reading.row() if reading else {}),
            **({"verdict": kind} if kind else {}),
        }
        self.run.append_metrics(row)
        self.log(row)
        alarm = None
        if kind and not self.alarmed:
            self.alarmed = True
            alarm = explain(
                kind,
                last_std,
                reading,
                stop_gradient=self.config.stop_gradient,
                batch_size=self.plan.batch_size,
                shared_predictor=bool(self.config.further_views) and self.config.view_predictors == "shared",
            )
        look_seconds = self.look_took if reading is not None else 0.0
        self.on_progress(
            Progress(int(epoch), step, self.plan.total_steps, loss, std, rate, seconds, look_seconds, reading, alarm)
        )
        self.measured, self.since = [], time.monotonic()
        return alarm

    def unreported(self) -> Tensor:
        """Return loss and std of the steps since the last row; a resumed run reports them.

        Returns:
            float32 (n, 2) on the CPU.
        """
        return torch.stack(self.measured).float().cpu() if self.measured else torch.zeros(0, 2)

    def _look(self, step: int, now: float, epoch_ends: bool) -> Reading | None:
        pause = _pause(self.look_took)
        due = epoch_ends and now - self.looked_at > pause
        if not (due or step in self.early or step == self.plan.total_steps):
            return None
        began = time.monotonic()
        try:
            with contextlib.suppress(FloatingPointError):
                return self.look()
            raise NotFinite(step)
        finally:
            self.looked_at = time.monotonic()
            self.look_took = self.looked_at - began


def _pause(look_took: float) -> float:
    return max(LOOK_SECONDS, look_took / LOOK_SHARE)


def looks_in(seconds: float, look_took: float, epoch: float, steps_per_epoch: int) -> float:
    """Estimate the number of the monitor's measurements.

    Args:
        seconds: Time of training.
        look_took: Time of one measurement.
        epoch: Time of one epoch.
        steps_per_epoch: Steps per epoch.

    Returns:
        Approximate number.
    """
    early = 4 if steps_per_epoch >= JUDGED_FROM else 1
    if seconds <= epoch:
        return 1 + early * seconds / epoch
    between = math.ceil(_pause(look_took) / epoch) * epoch + look_took  # measurements wait for the end of an epoch
    return early + (seconds - epoch) / between + 1
