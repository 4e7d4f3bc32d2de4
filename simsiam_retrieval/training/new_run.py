"""Starting a run: its folder, a trial on the example photos, and what it is made with."""

import dataclasses
import os
import platform
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
import torchvision

from ..core.checkout import code_commit
from ..core.errors import UserError
from ..core.version import __version__
from .config import Config
from .recipes import recipe
from .resume_run import broke_off
from .torchrun_processes import Processes

TRIAL = {"image_size": 64, "batch_size": 32, "epochs": 80}


def new_folder(config: Config, *, trial: bool) -> Path:
    """Choose the folder of a run for which ``--out`` names none.

    Args:
        config: Its settings.
        trial: Whether it is a trial on the example photos.

    Returns:
        A folder in ``runs/``, named after method, backbone and time.
    """
    # a launcher's id is the same after a restart, the time is not
    launched = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S") if launched == "none" else launched
    return Path("runs") / f"{'trial' if trial else config.method}-{config.backbone}-{stamp}"


def refuse_used(path: Path) -> None:
    """Refuse a folder that holds another run, or anything else.

    Args:
        path: The folder.

    Raises:
        UserError: It is in use.
    """
    if (path / "config.json").exists():
        if not broke_off(path):
            raise UserError(f"{path}: already a run; go on with --resume {path}, or choose another --out")
        return
    if path.exists() and (not path.is_dir() or any(file.name != ".lock" for file in path.iterdir())):
        raise UserError(f"{path}: exists and is not empty; choose another --out")


def trial_settings(config: Config) -> Config:
    """Change the settings of a trial on the example photos, as far as they were not given.

    Args:
        config: The settings.

    Returns:
        Settings for a few minutes.
    """
    usual = recipe(config.recipe, config.method)
    smaller = {name: min(value, getattr(usual, name)) for name, value in TRIAL.items()}
    return dataclasses.replace(
        config, **{name: value for name, value in smaller.items() if getattr(config, name) == getattr(usual, name)}
    )


def environment(device: torch.device, processes: Processes) -> dict[str, Any]:
    """Describe what a run is made with, for ``config.json``.

    Args:
        device: The device that computes.
        processes: The processes of the run.

    Returns:
        Commit, versions, device, number of processes, and the time.
    """
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    commit = code_commit()
    return {
        **({"commit": commit} if commit else {}),
        "versions": {
            "simsiam-retrieval": __version__,
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "python": platform.python_version(),
        },
        "device": {"type": device.type, "name": name},
        "processes": processes.count,
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
    }
