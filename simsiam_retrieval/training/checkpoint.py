"""Checkpoints: when one is due, writing it in one step, reading it back."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ..core.atomic_files import replacing
from ..core.errors import UserError

# words in torch's error for a full disk: it notices that a record is not at its position
_TORCH_CANNOT_WRITE = ("write", "unexpected pos")


def checkpoint_clock(minutes: float, steps: int = 0) -> Callable[[int], bool]:
    """Create a function that decides whether a checkpoint is due.

    Args:
        minutes: Due when so many minutes have passed since the last one.
        steps: Also due after every so many steps; 0 for time only.

    Returns:
        A function of the finished steps. If it returns True, the checkpoint counts as written.
    """
    written_at = time.monotonic()

    def due(done: int) -> bool:
        nonlocal written_at
        if not (steps and done % steps == 0) and time.monotonic() - written_at < 60 * minutes:
            return False
        written_at = time.monotonic()
        return True

    return due


def save_checkpoint(file: Path, state: dict[str, Any]) -> None:
    """Replace a checkpoint in one step.

    Args:
        file: The file.
        state: The content.

    Raises:
        UserError: The disk is full.
    """
    try:
        with replacing(file) as temporary:
            torch.save(state, temporary)
    except (OSError, RuntimeError) as error:  # torch reports a failed write as RuntimeError
        if isinstance(error, RuntimeError) and not any(word in str(error) for word in _TORCH_CANNOT_WRITE):
            raise
        raise UserError(f"{file}: cannot write the checkpoint (disk full?); the one before is still there") from None


def load_checkpoint(file: Path, device: str | torch.device = "cpu") -> dict[str, Any]:
    """Read a checkpoint; only tensors and plain values are unpickled.

    Args:
        file: The file.
        device: Device of the tensors.

    Returns:
        The content.

    Raises:
        UserError: The file is missing or damaged.
    """
    try:
        found = torch.load(file, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{file.parent}: no {file.name} in it; is this a run folder?") from None
    # on a damaged file torch can raise almost any exception
    except Exception:  # noqa: BLE001
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{file}: damaged or not a checkpoint of this package")
    return found
