"""Small pretraining runs for tests: two steps an epoch on the 38 photos of ``few_photos``, and the command."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from simsiam_retrieval.training import augmentation
from simsiam_retrieval.training.config import Config
from simsiam_retrieval.training.run_folder import Run
from simsiam_retrieval.training.run_options import Options
from simsiam_retrieval.training.trainer import pretrain

FAST = Config(image_size=20, store_size=20, batch_size=16, epochs=3, projector_dim=16, predictor_dim=8)
FAST_OPTIONS = [
    f"--{name.replace('_', '-')}={getattr(FAST, name)}"
    for name in ("recipe", "image_size", "store_size", "batch_size", "epochs", "projector_dim", "predictor_dim")
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


@dataclasses.dataclass
class Outcome:
    code: int
    out: str
    err: str


Command = Callable[..., Outcome]


def refused(outcome: Outcome, *words: str) -> None:
    """The user can mend it: exit code 2, nothing on stdout, one line that says what is wrong."""
    assert outcome.code == 2, outcome
    assert outcome.out == ""
    errors = [line for line in outcome.err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and outcome.err.splitlines()[-1] == errors[0], outcome.err
    assert "Traceback" not in outcome.err
    for word in words:
        assert word in errors[0]


def stop_in_step(monkeypatch: pytest.MonkeyPatch, number: int, step: int) -> None:
    """Send this process a real signal while ``step`` (from 1) draws its second view."""
    draw, calls = augmentation.draw, iter(range(1, 1_000_000))

    def drawing(*args):
        if next(calls) == 2 * step:
            os.kill(os.getpid(), number)
        return draw(*args)

    monkeypatch.setattr(augmentation, "draw", drawing)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}
