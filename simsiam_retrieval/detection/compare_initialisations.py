"""A complete comparison (initialisations x learning rates x seeds) with one schedule, in a resumable folder."""

import dataclasses
import json
import platform
import re
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import torchvision
from filelock import FileLock, Timeout

from ..core import cli
from ..core.atomic_files import write_json
from ..core.checkout import code_commit
from ..core.errors import UserError
from ..core.progress import bar
from ..core.text import printable
from ..core.version import __version__
from ..training.stop_signals import stop_signals
from .comparison_report import FORMAT, summary
from .dataset_parts import Parts
from .detection_settings import Settings
from .evaluate_detector import measure
from .finetune import Fit, Interrupted, Machine, finetune
from .initialisations import Initialisation

RESULT = "result.json"
LINE_SECONDS = 30  # time between progress lines if stderr is no terminal


@dataclass(frozen=True)
class Plan:
    """What is compared.

    Attributes:
        initialisations: The initialisations.
        lrs: Learning rates; of several, each initialisation keeps the best on the validation part.
        seeds: Seeds.
    """

    initialisations: list[Initialisation]
    lrs: tuple[float, ...]
    seeds: tuple[int, ...]


def compare(plan: Plan, parts: Parts, settings: Settings, out: Path, machine: Machine) -> dict[str, Any] | None:
    """Fine-tune and measure everything in a plan. Finished fine-tunings in ``out`` are not repeated.

    With several learning rates, each initialisation is trained with all of them under the first seed. It continues with
    the rate that has the highest AP on the validation part; the test part has no influence. Writes ``config.json``, a
    folder for each fine-tuning and, after each, ``results.json``.

    Args:
        plan: What is compared.
        parts: The data.
        settings: The settings of all fine-tunings.
        out: The folder.
        machine: The device and its options.

    Returns:
        The content of ``results.json``; None if the user stopped it.

    Raises:
        UserError: ``out`` contains something else, or another process writes to it.
    """
    _refuse_other(out, config := _config(parts, settings, machine))
    out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        stack.enter_context(_locked(out))
        if not (out / "config.json").exists():
            write_json(out / "config.json", config)
        machine.stopped = stack.enter_context(stop_signals(insist=False))
        cli.remark(
            f"{len(parts.train.pictures)} images to train on, {len(parts.test.pictures)} to test, "
            f"{len(parts.train.classes)} classes; {settings.steps} steps on {machine.device}; folder {printable(out)}"
        )
        try:
            return _compare(plan, parts, settings, out, machine, config)
        except Interrupted:
            return None


def _compare(
    plan: Plan, parts: Parts, settings: Settings, out: Path, machine: Machine, config: dict[str, Any]
) -> dict[str, Any]:
    chosen: dict[str, float] = {}
    fits: list[dict[str, Any]] = []
    total = len(plan.initialisations) * (len(plan.lrs) + len(plan.seeds) - 1)

    def run(one: Initialisation, lr: float, seed: int) -> dict[str, Any]:
        fit = Fit(one, lr, seed, out / f"{_slug(one.name)}-lr{lr:g}-seed{seed}")
        label = f"{len(fits) + 1}/{total} {one.name}, lr {lr:g}, seed {seed}"
        fits.append(_fit(fit, label, parts, settings, machine))
        content = {**config, **summary(plan.initialisations, fits, chosen, plan.lrs)}
        write_json(out / "results.json", content)
        return fits[-1]

    for one in plan.initialisations:
        tried = [run(one, lr, plan.seeds[0]) for lr in plan.lrs]
        # among equals, the first rate is taken
        chosen[one.name] = plan.lrs[max(range(len(tried)), key=lambda index: _score(tried[index]))]
    for seed in plan.seeds[1:]:
        for one in plan.initialisations:
            run(one, chosen[one.name], seed)
    content = {**config, **summary(plan.initialisations, fits, chosen, plan.lrs)}
    write_json(out / "results.json", content)
    return content


def _score(fit: dict[str, Any]) -> float:
    """The score by which a learning rate is chosen; unimportant if there is only one."""
    measured = fit["val"]
    return -1.0 if measured is None else measured["box"]["AP"] or 0.0


def _fit(fit: Fit, label: str, parts: Parts, settings: Settings, machine: Machine) -> dict[str, Any]:
    """The result of one fine-tuning, read from its folder if it is finished."""
    file = fit.folder / RESULT
    if file.exists():
        known = _read(file)
        needed = parts.val is None or known.get("val") is not None or known.get("diverged_at") is not None
        if known.get("fit") == fit.describe() and needed:
            cli.remark(f"{label}: done already")
            return known
    started = time.process_time()
    with bar(label, settings.steps) as shown:
        on_step = _reporter(label, settings.steps, shown.at, shown.note)
        detector = finetune(fit, parts.train, settings, dataclasses.replace(machine, on_step=on_step))
    result: dict[str, Any] = {
        "name": fit.initialisation.name, "lr": fit.lr, "seed": fit.seed, "fit": fit.describe(),
        "diverged": detector is None, "val": None, "test": None,
    }  # fmt: skip
    if detector is None:
        cli.remark(f"{label}: diverged, the loss is not a number any more; try a lower --lr")
    else:
        for name, part in (("val", parts.val), ("test", parts.test)):
            if part is not None:
                with bar(f"{label}, {name} images", len(part.pictures)) as shown:
                    result[name] = measure(detector, part, machine, masks=settings.masks, on_progress=shown.advance)
        box = result["test"]["box"]
        cli.remark(f"{label}: test AP {_percent(box['AP'])}, AP50 {_percent(box['AP50'])}")
    # time of this process only: a resumed fine-tuning took longer
    result["cpu_seconds"] = round(time.process_time() - started, 1)
    write_json(file, result)
    return result


def _percent(part: float | None) -> str:
    return "–" if part is None else f"{100 * part:.1f}"


def _reporter(
    label: str, steps: int, at: Callable[[int], None], note: Callable[[str], None]
) -> Callable[[int, dict[str, float]], None]:
    """Move the bar; if stderr is no terminal, print a line from time to time."""
    spoken_at = time.monotonic()

    def on_step(step: int, row: dict[str, float]) -> None:
        nonlocal spoken_at
        at(step)
        note(f"loss {row['loss']:.3f}")
        if not sys.stderr.isatty() and time.monotonic() - spoken_at > LINE_SECONDS:
            cli.remark(f"{label}: step {step}/{steps}  loss {row['loss']:.3f}")
            spoken_at = time.monotonic()

    return on_step


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-") or "weights"


def _config(parts: Parts, settings: Settings, machine: Machine) -> dict[str, Any]:
    device = machine.device
    commit = code_commit()
    return {
        "format": FORMAT,
        "settings": json.loads(json.dumps(dataclasses.asdict(settings))),
        "data": {
            name: {"title": part.title, "images": len(part.pictures), "fingerprint": part.fingerprint()}
            for name, part in (("train", parts.train), ("val", parts.val), ("test", parts.test))
            if part is not None
        },
        "classes": list(parts.train.classes),
        "precision": "bfloat16 in the backbone" if machine.bfloat16 else "float32",
        **({"commit": commit} if commit else {}),
        "versions": {
            "simsiam-retrieval": __version__,
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "pycocotools": version("pycocotools"),
            "python": platform.python_version(),
        },
        "device": {
            "type": device.type,
            "name": _name(device),
            "threads": torch.get_num_threads(),
        },
        "created": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()


def _refuse_other(out: Path, config: dict[str, Any]) -> None:
    """Raise ``UserError`` unless ``out`` is new, empty, or contains fine-tunings with the same settings and data."""
    file = out / "config.json"
    if not file.exists():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise UserError(f"{out}: exists and is not empty; choose another --out")
        return
    known = _read(file)
    if known.get("format") != FORMAT:
        raise UserError(f"{out}: contains something else; choose another --out")
    differing = [
        f"--{name.replace('_', '-')}"
        for name, value in config["settings"].items()
        if known["settings"].get(name) != value
    ]
    if differing:
        raise UserError(f"{out}: begun with other settings ({', '.join(differing)}); choose another --out")
    for name in known["data"].keys() & config["data"].keys():
        if known["data"][name]["fingerprint"] != config["data"][name]["fingerprint"]:
            raise UserError(f"{out}: begun with other {name} images or boxes; choose another --out")


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(f"{file}: damaged, not JSON; remove it, or choose another --out") from None
    if not isinstance(content, dict):
        raise UserError(f"{file}: damaged, not JSON; remove it, or choose another --out")
    return content


def _locked(out: Path) -> FileLock:
    lock = FileLock(out / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"{out}: another process is writing to it; wait, or choose another --out") from None
    return lock
