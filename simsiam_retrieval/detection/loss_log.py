"""The losses of a fine-tuning, as rows of ``metrics.jsonl``."""

import json
import time
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from ..core.atomic_files import replacing
from ..training.run_files import read_metrics

ROW_SECONDS = 5  # time between rows


class LossLog:
    """Averages the losses of steps into rows of ``metrics.jsonl``.

    Args:
        file: The file; rows that the checkpoint does not contain are removed from it.
        first: Finished steps of the checkpoint.
        batch_size: Images per step.
        on_step: Called with step and losses.
    """

    def __init__(
        self, file: Path, first: int, batch_size: int, on_step: Callable[[int, dict[str, float]], None]
    ) -> None:
        self.file, self.batch_size, self.on_step = file, batch_size, on_step
        rows = [
            row for row in read_metrics(file.parent) if row["step"] <= first
        ]  # later rows are not part of the checkpoint
        with replacing(file) as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        self.sums: dict[str, float] = {}
        self.steps, self.since = 0, time.monotonic()

    def add(self, step: int, losses: dict[str, Tensor], loss: Tensor, lr: float, *, last: bool) -> None:
        """Add the losses of a step.

        Args:
            step: Finished steps.
            losses: The detector's losses.
            loss: Their sum.
            lr: Learning rate.
            last: Whether this is the last step; then a row is written.
        """
        for name, value in {"loss": loss, **losses}.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value.detach())
        self.steps += 1
        passed = time.monotonic() - self.since
        row = {name: round(total / self.steps, 6) for name, total in self.sums.items()}
        self.on_step(step, row)
        if passed < ROW_SECONDS and not last:
            return
        rate = self.steps * self.batch_size / max(passed, 1e-9)
        row = {"step": step, **row, "lr": round(lr, 8), "images_per_second": round(rate, 2)}
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self.sums, self.steps, self.since = {}, 0, time.monotonic()
