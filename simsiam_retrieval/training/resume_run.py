"""Continuing a run: what ``--resume`` takes from the run folder, and whether there is something to continue from."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from ..core.errors import UserError
from .config import Config
from .data_split import make_plan
from .measured_channels import MEASURED
from .run_files import read_metrics, stored_config
from .run_folder import Run


def resumed(resume: Path, config: Config, data: Sequence[Path]) -> tuple[Run, list[Path], Config]:
    """Find the settings with which ``--resume`` continues a run.

    Args:
        resume: The run folder.
        config: Settings of the command line.
        data: Folders of the command line; empty for the run's own.

    Returns:
        The run, its folders of images, and its settings; with more epochs if a finished run is trained on.

    Raises:
        UserError: The run cannot be continued, or the command line names other settings.
    """
    run = Run(resume)
    stored = run.config()
    if "converted" in run.read():
        raise UserError(f"{resume}: converted weights, no training to go on with; start from them: --init {resume}")
    changed = [
        f"--{field.name.replace('_', '-')}"
        for field in dataclasses.fields(Config)
        if getattr(stored, field.name) != getattr(config, field.name) and field.name not in MEASURED
    ]
    if changed == ["--epochs"] and config.epochs > stored.epochs:
        if not is_finished(run):
            raise UserError(
                f"{resume}: not at its end yet, and --resume goes on with the run's own settings; leave out --epochs, "
                "and give it again when the run has finished"
            )
        stored = dataclasses.replace(stored, epochs=config.epochs, steps=0)
    elif changed:
        hint = "; a finished run is trained on with a larger --epochs" if "--epochs" in changed else ""
        raise UserError(f"--resume goes on with the run's own settings; leave out {', '.join(changed)}{hint}")
    roots = list(data) or [Path(root) for root in run.read().get("data", {}).get("roots", [])]
    return run, roots, stored


def broke_off(path: Path) -> bool:
    """Return whether a run ended before its first checkpoint. It then starts over, and nothing is lost by that.

    Args:
        path: The run folder.

    Returns:
        True if it did.
    """
    if begun(path) or (path / "encoder.onnx").exists():
        return False
    rows = read_metrics(path)
    return not rows or rows[-1]["epoch"] < stored_config(path).epochs


def begun(path: Path) -> bool:
    """Return whether a run folder has a checkpoint to continue from.

    Args:
        path: The run folder.

    Returns:
        True if it has.
    """
    return (path / "checkpoint.pt").exists()


def is_finished(run: Run) -> bool:
    """Return whether a run's checkpoint is that of its last step.

    Args:
        run: The run.

    Returns:
        True if it is.
    """
    config, images = run.config(), run.read().get("data", {}).get("images", 0)
    if not begun(run.path):
        return False
    done = run.load_checkpoint().get("step")
    return images >= 2 and done == make_plan(config, images).total_steps


def note_more_epochs(run: Run, config: Config) -> None:
    """Write down that a finished run is trained on; what it was before stays in ``trained_on``.

    Args:
        run: The run.
        config: Its new settings.
    """
    facts = run.read()
    before = {name: facts["config"].get(name, 0) for name in ("epochs", "steps")}
    facts.pop("config")
    facts["trained_on"] = [*facts.get("trained_on", []), before]
    run.write(config, **facts)
