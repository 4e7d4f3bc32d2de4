"""The run folder: config.json, metrics.jsonl, checkpoint.pt, rejected.jsonl; plain files that explain themselves."""

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
from .config import Config
from .run_files import read_description, read_metrics, stored_config

# what torch's writer says of a disk that is full: it notices when a record is not where it should be
_TORCH_CANNOT_WRITE = ("write", "unexpected pos")


@dataclass(frozen=True)
class Run:
    """A run folder on disk."""

    path: Path

    @property
    def config_file(self) -> Path:
        return self.path / "config.json"

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def checkpoint_file(self) -> Path:
        return self.path / "checkpoint.pt"

    @property
    def rejected_file(self) -> Path:
        return self.path / "rejected.jsonl"

    def lock(self) -> FileLock:
        """Held by whoever writes to the run; raises :class:`UserError` when another process holds it."""
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise UserError(
                f"{self.path}: another process is writing to this run; wait, or choose another --out"
            ) from None
        return lock

    def tidy(self) -> None:
        """Remove half-written checkpoints of a process that was killed; for the holder of the lock."""
        for left in self.path.glob(f".{self.checkpoint_file.name}.*.tmp"):
            left.unlink(missing_ok=True)

    def read(self) -> dict[str, Any]:
        """The content of ``config.json``; raises :class:`UserError` when it is not there or damaged."""
        return read_description(self.path)

    def config(self) -> Config:
        """The run's settings."""
        return stored_config(self.path)

    def write(self, config: Config, **facts: Any) -> None:
        """Write ``config.json``: the settings, and facts such as versions and the data's fingerprint."""
        write_json(self.config_file, {"config": dataclasses.asdict(config), **facts})

    def write_rejected(self, rejected: Iterable[tuple[ImageFile, str]]) -> None:
        """Write ``rejected.jsonl``: the images that the run goes without, a line each."""
        lines = [
            json.dumps({**file.identity._asdict(), "path": str(file.path), "reason": reason}) + "\n"
            for file, reason in rejected
        ]
        if lines or self.rejected_file.exists():
            with replacing(self.rejected_file) as temporary:
                temporary.write_text("".join(lines), encoding="utf-8")

    def read_rejected(self) -> dict[Identity, str]:
        """The images that the run goes without, with the reason; damaged lines are left out."""
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
        """Replace ``checkpoint.pt`` in one step; raises :class:`UserError` when the disk is full."""
        try:
            with replacing(self.checkpoint_file) as temporary:
                torch.save(state, temporary)
        except (OSError, RuntimeError) as error:  # torch reports a failed write as RuntimeError
            if isinstance(error, RuntimeError) and not any(word in str(error) for word in _TORCH_CANNOT_WRITE):
                raise
            raise UserError(
                f"{self.checkpoint_file}: cannot write the checkpoint (disk full?); the one before is still there"
            ) from None

    def load_checkpoint(self, device: str | torch.device = "cpu") -> dict[str, Any]:
        """Read ``checkpoint.pt`` without unpickling anything but tensors and plain values."""
        try:
            found = torch.load(self.checkpoint_file, map_location=device, weights_only=True)
        except FileNotFoundError:
            raise UserError(f"{self.path}: no checkpoint.pt in it; is this a run folder?") from None
        # a damaged file makes torch's reader raise nearly anything, and none of it is about us
        except Exception:  # noqa: BLE001
            found = None
        if not isinstance(found, dict):
            raise UserError(f"{self.checkpoint_file}: damaged or not a checkpoint of this package")
        return found

    def append_metrics(self, row: dict[str, Any]) -> None:
        """Add one line to ``metrics.jsonl``; raises :class:`UserError` when the disk is full."""
        try:
            with self.metrics_file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise UserError(
                f"{self.metrics_file}: cannot be written ({error.strerror}); make room, and go on with --resume"
            ) from None

    def truncate_metrics(self, step: int) -> None:
        """Drop rows past ``step``: they belong to work that a crash undid."""
        if self.metrics_file.exists():
            rows = [row for row in read_metrics(self.path) if _at_most(row.get("step"), step)]
            with replacing(self.metrics_file) as temporary:
                temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _at_most(found: Any, step: int) -> bool:
    return isinstance(found, int | float) and found <= step


def load_backbone(path: Path) -> tuple[nn.Module, Config]:
    """The trained backbone of a run, in eval mode on the CPU, and the run's settings.

    A run converted from a file without heads holds nothing but the backbone; in any other all must fit.

    Raises :class:`UserError` when the folder is not a run or its checkpoint does not fit its settings.
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
        # a method may have put other layers into its own
        backbone = build_backbone(config.backbone, config.stem, config.normalisation)
        backbone.load_state_dict(model.get_submodule("backbone").state_dict())
    except (RuntimeError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"{run.checkpoint_file}: does not fit {run.config_file}; one of them is from another run"
        ) from None
    return backbone.eval(), config


def load_projector(path: Path) -> nn.Module | None:
    """The trained projector of a run, in eval mode on the CPU; None where the run holds a backbone alone.

    Raises :class:`UserError` as :func:`load_backbone` does.
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
