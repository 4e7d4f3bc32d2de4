"""The run folder: config.json, metrics.jsonl, checkpoint.pt, rejected.jsonl."""

import contextlib
import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import nn

from ..core.atomic_files import parse_json, replacing, write_json
from ..core.errors import UserError
from ..images.files import Identity, ImageFile
from ..methods.backbone import build_backbone
from .build_model import build_model
from .checkpoint import load_checkpoint, save_checkpoint
from .config import Config
from .run_files import read_description, read_metrics, stored_config


@dataclass(frozen=True)
class Run:
    """A run folder on disk.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def config_file(self) -> Path:
        """The settings."""
        return self.path / "config.json"

    @property
    def metrics_file(self) -> Path:
        """The metrics."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoint_file(self) -> Path:
        """The checkpoint."""
        return self.path / "checkpoint.pt"

    @property
    def rejected_file(self) -> Path:
        """The images that the run does not use."""
        return self.path / "rejected.jsonl"

    def lock(self) -> FileLock:
        """Acquire the lock that every writer to the run needs.

        Returns:
            The lock.

        Raises:
            UserError: Another process has it.
        """
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise UserError(
                f"{self.path}: another process is writing to this run; wait, or choose another --out"
            ) from None
        return lock

    def tidy(self) -> None:
        """Delete incomplete checkpoints of a killed process. The caller must have the lock."""
        for left in self.path.glob(f".{self.checkpoint_file.name}.*.tmp"):
            left.unlink(missing_ok=True)

    def read(self) -> dict[str, Any]:
        """Read ``config.json``.

        Returns:
            Its content.

        Raises:
            UserError: It is missing or damaged.
        """
        return read_description(self.path)

    def config(self) -> Config:
        """Read the run's settings.

        Returns:
            The settings.

        Raises:
            UserError: ``config.json`` is missing or damaged.
        """
        return stored_config(self.path)

    def write(self, config: Config, **facts: Any) -> None:
        """Write ``config.json``.

        Args:
            config: The settings.
            **facts: Versions, the data's fingerprint, and so on.
        """
        write_json(self.config_file, {"config": dataclasses.asdict(config), **facts})

    def write_rejected(self, rejected: Iterable[tuple[ImageFile, str]]) -> None:
        """Write ``rejected.jsonl``: the images that the run does not use, one per line.

        Args:
            rejected: Images and reasons.
        """
        lines = [
            json.dumps({**file.identity._asdict(), "path": str(file.path), "reason": reason}) + "\n"
            for file, reason in rejected
        ]
        if lines or self.rejected_file.exists():
            with replacing(self.rejected_file) as temporary:
                temporary.write_text("".join(lines), encoding="utf-8")

    def read_rejected(self) -> dict[Identity, str]:
        """Read the images that the run does not use. Damaged lines are skipped.

        Returns:
            Identity -> reason.
        """
        rejected = {}
        try:
            lines = self.rejected_file.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:  # none, or a run of the first version
            return {}
        for line in lines:
            with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
                values = parse_json(line)
                reason = str(values.pop("reason"))
                rejected[Identity(**{**values, "path": Path(values["path"])})] = reason
        return rejected

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Replace ``checkpoint.pt`` in one step.

        Args:
            state: The content.

        Raises:
            UserError: The disk is full.
        """
        save_checkpoint(self.checkpoint_file, state)

    def load_checkpoint(self, device: str | torch.device = "cpu") -> dict[str, Any]:
        """Read ``checkpoint.pt``; only tensors and plain values are unpickled.

        Args:
            device: Device of the tensors.

        Returns:
            The content.

        Raises:
            UserError: The file is missing or damaged.
        """
        return load_checkpoint(self.checkpoint_file, device)

    def append_metrics(self, row: dict[str, Any]) -> None:
        """Add a line to ``metrics.jsonl``.

        Args:
            row: The metrics.

        Raises:
            UserError: The disk is full.
        """
        try:
            with self.metrics_file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise UserError(
                f"{self.metrics_file}: cannot be written ({error.strerror}); make room, and go on with --resume"
            ) from None

    def truncate_metrics(self, step: int) -> None:
        """Delete rows after a step: they belong to work that was lost in a crash.

        Args:
            step: The last step that is kept.
        """
        if self.metrics_file.exists():
            rows = [row for row in read_metrics(self.path) if _at_most(row.get("step"), step)]
            with replacing(self.metrics_file) as temporary:
                temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _at_most(found: Any, step: int) -> bool:
    return isinstance(found, int | float) and found <= step


def load_backbone(path: Path) -> tuple[nn.Module, Config]:
    """Load the trained backbone of a run.

    A run converted from a file without heads contains only the backbone; in any other run all weights must fit.

    Args:
        path: The run folder.

    Returns:
        The backbone, in eval mode on the CPU, and the run's settings.

    Raises:
        UserError: The folder is no run, or its checkpoint does not fit its settings.
    """
    run = Run(path)
    config = run.config()
    try:
        state = run.load_checkpoint()["model"]
        if all(name.startswith("backbone.") for name in state):
            model = nn.ModuleDict({"backbone": build_backbone(config.backbone, config.stem, config.normalisation)})
        else:
            model = build_model(config)
        model.load_state_dict(state)
        # a method may have replaced layers of the backbone
        backbone = build_backbone(config.backbone, config.stem, config.normalisation)
        backbone.load_state_dict(model.get_submodule("backbone").state_dict())
    except (RuntimeError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"{run.checkpoint_file}: does not fit {run.config_file}; one of them is from another run"
        ) from None
    return backbone.eval(), config


def load_projector(path: Path) -> nn.Module | None:
    """Load the trained projector of a run.

    Args:
        path: The run folder.

    Returns:
        The projector, in eval mode on the CPU; None if the run has only a backbone.

    Raises:
        UserError: The folder is no run, or its checkpoint does not fit its settings.
    """
    run = Run(path)
    state = run.load_checkpoint().get("model", {})
    projector = build_model(run.config()).projector
    found = {name.removeprefix("projector."): value for name, value in state.items() if name.startswith("projector.")}
    if not found:
        return None
    try:
        projector.load_state_dict(found)
    except RuntimeError:
        raise UserError(
            f"{run.checkpoint_file}: does not fit {run.config_file}; one of them is from another run"
        ) from None
    return projector.eval()
