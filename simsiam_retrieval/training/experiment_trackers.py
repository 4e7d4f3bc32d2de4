"""Sending metrics to an experiment tracker, in addition to ``metrics.jsonl``."""

import dataclasses
import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from ..core.errors import UserError
from .config import Config

PROJECT = "simsiam-retrieval"

Log = Callable[[dict[str, Any]], None]


@contextmanager
def tracking(tracker: str | None, run: Path, config: Config) -> Iterator[Log]:
    """Open an experiment tracker.

    Args:
        tracker: "tensorboard", "wandb", "trackio", or None for no tracker.
        run: The run folder.
        config: Settings of the run.

    Yields:
        A function that takes a row of metrics.

    Raises:
        UserError: The tracker is not installed.
    """
    if tracker is None:
        yield lambda row: None
        return
    log, close = _TRACKERS[tracker](run, config)
    try:
        yield log
    finally:
        close()


def _tensorboard(run: Path, config: Config) -> tuple[Log, Callable[[], None]]:
    _installed("tensorboard")
    from torch.utils.tensorboard.writer import SummaryWriter

    writer = SummaryWriter(run / "tensorboard")

    def log(row: dict[str, Any]) -> None:
        for name, value in _numbers(row).items():
            writer.add_scalar(name, value, row["step"])

    return log, writer.close


def _wandb(run: Path, config: Config) -> tuple[Log, Callable[[], None]]:
    wandb = _installed("wandb")
    # the id is the name of the run folder, so that a resumed run continues the same curves
    session = wandb.init(
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        name=run.name,
        id=run.name,
        resume="allow",
        dir=run,
        config=dataclasses.asdict(config),
    )
    return lambda row: session.log(_numbers(row), step=row["step"]), session.finish


def _trackio(run: Path, config: Config) -> tuple[Log, Callable[[], None]]:
    trackio = _installed("trackio")
    session = trackio.init(project=PROJECT, name=run.name, config=dataclasses.asdict(config), resume="allow")
    return lambda row: session.log(_numbers(row), step=row["step"]), session.finish


_TRACKERS = {"tensorboard": _tensorboard, "wandb": _wandb, "trackio": _trackio}


def _installed(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(
            f"--tracker {name}: not installed; pip install 'simsiam-retrieval[{name}]', or leave it out: "
            f"metrics.jsonl and the app show the same"
        ) from None


def _numbers(row: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in row.items() if isinstance(value, int | float) and name != "step"}
