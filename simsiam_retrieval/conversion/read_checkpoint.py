"""Reading the tensors of a checkpoint file without executing anything in it."""

import argparse
import re
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..core.errors import UserError

# keys under which training programs store a network's state_dict; tried in this order
STATE_KEYS = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "params")
NAMED = 3  # things that one message names at most

# Values that checkpoints often carry beside weights, and that only hold data: numpy numbers, and argparse's settings.
_SCALAR = np._core.multiarray.scalar  # type: ignore[attr-defined]
_DATA_ONLY: list[Any] = [
    argparse.Namespace,
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    *{type(np.dtype(name)) for name in ("f2", "f4", "f8", "i4", "i8", "bool")},
]


@dataclass(frozen=True)
class Weights:
    """The content of a checkpoint file.

    Attributes:
        tensors: The network's state_dict, under the file's own names.
        beside: Other entries of the file that contain tensors, such as an optimiser's -> number of tensors.
    """

    tensors: dict[str, Tensor]
    beside: dict[str, int]


def read_weights(file: Path) -> Weights:
    """Read a ``torch.save`` file (with ``weights_only=True``) or a ``.safetensors`` file onto the CPU.

    The network is the file itself if that is a state_dict, otherwise the first of its entries that is named in
    ``STATE_KEYS``.

    Args:
        file: The checkpoint.

    Returns:
        The tensors.

    Raises:
        UserError: The file is missing, damaged or no checkpoint, contains Python objects that could run code, or
            contains no network.
    """
    try:
        with file.open("rb") as opened:
            start = opened.read(512)
    except FileNotFoundError:
        raise UserError(f"{file}: no such file") from None
    except IsADirectoryError:
        raise UserError(_about_folder(file)) from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from None
    _refuse_other_kinds(file, start)
    if file.suffix == ".safetensors" or start[8:10] == b'{"':
        return Weights(_read_safetensors(file), {})
    return _network_in(file, _read_torch(file, start))


def _about_folder(folder: Path) -> str:
    if (folder / "config.json").exists() and (folder / "checkpoint.pt").exists():
        return f"{folder}: already a run folder; there is nothing to convert"
    return f"{folder}: this is a folder; name the checkpoint file in it"


def _refuse_other_kinds(file: Path, start: bytes) -> None:
    text = start.lstrip().lower()
    if not start:
        raise UserError(f"{file}: empty; download or copy it again")
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise UserError(f"{file}: a web page, not weights; the download was refused or needs another address")
    if text.startswith(b"version https://git-lfs"):
        raise UserError(f"{file}: a Git LFS pointer, not the weights; fetch them with: git lfs pull")


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file, device="cpu")
    except (SafetensorError, ValueError, KeyError):
        raise UserError(f"{file}: damaged, cut short, or not a safetensors file; download or copy it again") from None


def _read_torch(file: Path, start: bytes) -> Any:
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_DATA_ONLY):
            warnings.simplefilter("ignore")  # this module prints its own message
            return torch.load(file, map_location="cpu", weights_only=True)
    # on a damaged file torch can raise almost any exception
    except Exception as error:  # noqa: BLE001
        raise UserError(f"{file}: {_why(file, start, error)}") from None


def _why(file: Path, start: bytes, error: Exception) -> str:
    if "TorchScript" in str(error):
        return "a TorchScript program, not weights; save its state_dict() with torch.save"
    if objects := _objects_in(file, error):
        named = ", ".join(objects[:NAMED]) + (f" and {len(objects) - NAMED} more" if len(objects) > NAMED else "")
        return (
            f"refused: it contains Python objects ({named}), and loading those can run code; "
            "ask for a file with weights only: torch.save(model.state_dict(), FILE), or a .safetensors file"
        )
    if start.startswith(b"PK") and not zipfile.is_zipfile(file):
        return "damaged or cut short; download or copy it again"
    return "damaged, or not a checkpoint: neither a torch.save file nor safetensors"


def _objects_in(file: Path, error: Exception) -> list[str]:
    """Name the classes and functions that unpickling the file would call; empty if that is unknown."""
    try:
        with torch.serialization.safe_globals(_DATA_ONLY):
            found = set(torch.serialization.get_unsafe_globals_in_checkpoint(file))
    except Exception:  # noqa: BLE001 -- as above: a damaged or an old file
        found = set(re.findall(r"GLOBAL (\S+) (?:was not an allowed|whose module)", str(error)))
    # names outside torch first: they tell the owner most
    return sorted(found, key=lambda name: (name.startswith("torch."), name))


def _network_in(file: Path, content: Any) -> Weights:
    if not isinstance(content, dict):
        raise UserError(f"{file}: contains a {type(content).__name__}, not a dict of a network's weights")
    key = next((key for key in STATE_KEYS if _tensors(content.get(key))), None)
    found = _tensors(content if key is None else content[key])
    if found:
        counts = {str(other): _count(value) for other, value in content.items() if other != key and other not in found}
        return Weights(found, {other: count for other, count in counts.items() if count})
    keys = ", ".join(map(str, list(content)[:NAMED])) or "nothing"
    raise UserError(f"{file}: no network's weights in it (it contains: {keys}); looked for {', '.join(STATE_KEYS)}")


def _tensors(value: Any) -> dict[str, Tensor]:
    if not isinstance(value, dict):
        return {}
    return {key: part for key, part in value.items() if isinstance(key, str) and isinstance(part, Tensor)}


def _count(value: Any) -> int:
    """Count the tensors in nested dicts and lists."""
    if isinstance(value, Tensor):
        return 1
    if isinstance(value, dict):
        return sum(map(_count, value.values()))
    return sum(map(_count, value)) if isinstance(value, list | tuple) else 0
