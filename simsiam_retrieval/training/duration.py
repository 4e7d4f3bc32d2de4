"""Converting minutes to steps: a short trial of the run measures its speed."""

import dataclasses
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from ..core.errors import UserError
from .config import Config
from .data_split import make_plan
from .loop import Interrupted, train
from .pixel_store import ImageStore
from .run_folder import Run
from .run_options import Options
from .torchrun_processes import Processes
from .training_report import Progress, looks_in

TRIAL_SHARE = 0.04  # largest fraction of the remaining time for the trial, unless the first rows take longer
TRIAL_SECONDS = 30  # longest trial, unless the first rows take longer
UNTIMED = 1  # rows at the start that are not timed: memory and kernels are being set up
LATEST = 100_000  # largest number of epochs that the setting allows


def fit_into(
    seconds: Callable[[], float],
    config: Config,
    store: ImageStore,
    *,
    device: torch.device,
    initial: nn.Module | None,
    processes: Processes,
    options: Options,
    labels: Tensor | None,
) -> Config:
    """Set the number of epochs (the last one may be incomplete) that fit into the remaining time.

    A trial trains the same network on the same images and is thrown away. So the run itself depends only on its
    settings. All processes must call this together.

    Args:
        seconds: Returns the remaining time.
        config: Settings of the run.
        store: The images.
        device: torch device.
        initial: Backbone to start from, or None.
        processes: The processes that train together.
        options: Runtime options.
        labels: int64 (n,), for the monitor's kNN accuracy, or None.

    Returns:
        The settings with epochs and steps.

    Raises:
        UserError: Not a single step fits.
        Interrupted: SIGINT or SIGTERM.
    """
    endless = dataclasses.replace(config, epochs=LATEST, steps=0, stop_on_collapse=False)
    timing = _Timing(until=min(TRIAL_SECONDS, TRIAL_SHARE * seconds()))
    with tempfile.TemporaryDirectory(prefix="simsiam-trial-") as folder:
        try:
            train(
                endless,
                store,
                Run(Path(folder)),
                device=device,
                initial=initial,
                processes=processes,
                options=options,
                labels=labels,
                on_progress=timing.note,
                enough=lambda: timing.done,
            )
        except Interrupted:
            if not processes.from_first(timing.done):
                raise
    per_epoch = make_plan(config, len(store), processes.count).steps_per_epoch
    steps = processes.from_first(timing.steps_in(seconds(), per_epoch))
    if steps < 1:
        raise UserError(f"--minutes {options.minutes:g} is over before the first step; give more")
    epochs = min(LATEST, -(-steps // per_epoch))
    return dataclasses.replace(config, epochs=epochs, steps=min(steps, epochs * per_epoch))


class _Timing:
    """The speed of a trial, from its rows. Only the first process gets rows."""

    def __init__(self, until: float) -> None:
        self._ends = time.monotonic() + until
        self._rows: list[tuple[int, float]] = []  # steps, seconds
        self._look = 0.0
        self._step = 0

    def note(self, now: Progress) -> None:
        """Record a row.

        Args:
            now: The progress.
        """
        steps, self._step = now.step - self._step, now.step
        self._rows.append((steps, now.seconds))
        self._look = max(self._look, now.look_seconds)

    @property
    def done(self) -> bool:
        """Whether the speed is known."""
        return len(self._rows) > UNTIMED and time.monotonic() > self._ends

    def steps_in(self, seconds: float, per_epoch: int) -> int:
        """Compute the steps that fit into a time, including the monitor's measurements.

        Args:
            seconds: The time.
            per_epoch: Steps per epoch.

        Returns:
            Number of steps.
        """
        timed = self._rows[UNTIMED:]
        if not timed:
            return 0
        per_step = sum(took for _, took in timed) / sum(steps for steps, _ in timed)
        looks = looks_in(seconds, self._look, per_step * per_epoch, per_epoch)
        return int((seconds - looks * self._look) / per_step)
