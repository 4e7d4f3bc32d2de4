"""One fine-tuning of a detector."""

import contextlib
import json
import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN

from ..core.atomic_files import write_json
from ..core.errors import UserError
from ..training.checkpoint import checkpoint_clock, save_checkpoint
from ..training.data_split import generator
from .annotations import DetectionSet
from .detection_batches import Sample, batches, draws
from .detection_settings import Settings
from .detector import build_detector
from .initialisations import Initialisation
from .loss_log import LossLog

CHECKPOINT = "checkpoint.pt"


class Interrupted(Exception):
    """The user stopped the fine-tuning; its checkpoint is written."""


@dataclass(frozen=True)
class Fit:
    """One fine-tuning of a comparison, and its folder."""

    initialisation: Initialisation
    lr: float
    seed: int
    folder: Path

    def describe(self) -> dict[str, Any]:
        """Return the facts that the folder must contain so that the fine-tuning can be resumed.

        Returns:
            Identity of the initialisation, learning rate and seed.
        """
        return {"initialisation": self.initialisation.identity, "lr": self.lr, "seed": self.seed}


@dataclass
class Machine:
    """The device, its options, and callbacks.

    Attributes:
        device: torch device.
        bfloat16: Whether to compute convolutions in bfloat16.
        workers: Number of threads that decode images.
        checkpoint_minutes: Minutes between checkpoints.
        stopped: Set to stop.
        on_step: Called with step and losses.
    """

    device: torch.device
    bfloat16: bool = False
    workers: int = 0
    checkpoint_minutes: float = 5
    stopped: threading.Event = field(default_factory=threading.Event)
    on_step: Callable[[int, dict[str, float]], None] = lambda step, row: None


def finetune(fit: Fit, train: DetectionSet, settings: Settings, machine: Machine) -> GeneralizedRCNN | None:
    """Train a detector, or continue from the checkpoint in ``fit.folder``.

    Writes ``fit.json``, ``metrics.jsonl`` and ``checkpoint.pt`` there. Every random draw depends only on (seed, step),
    so an interrupted run repeats an uninterrupted one, exactly on a CPU. With the same seed, the new heads have the
    same initial weights for every backbone.

    Args:
        fit: Initialisation, learning rate, seed and folder.
        train: The training images.
        settings: The settings.
        machine: The device and its options.

    Returns:
        The detector in evaluation mode, with BN statistics measured over ``settings.bn_batches`` batches. None if the
        loss became NaN or infinite, because the learning rate is too high.

    Raises:
        Interrupted: ``machine.stopped`` is set.
        UserError: The folder is of another fine-tuning, or the disk is full.
    """
    detector = new_detector(fit, train, settings, machine)
    optimizer = torch.optim.SGD(parameter_groups(detector, settings.weight_decay), lr=fit.lr, momentum=0.9)
    first = _begin(fit, settings, detector, optimizer, machine.device)
    if first > settings.steps:  # training and BN measurement are finished
        return detector.eval()
    if first < 0:
        return None
    due = checkpoint_clock(machine.checkpoint_minutes)
    log = LossLog(fit.folder / "metrics.jsonl", first, settings.batch_size, machine.on_step)

    def drawn() -> Iterator[list[tuple[int, bool]]]:
        for step in range(first, settings.steps + settings.bn_batches):
            yield draws(len(train.pictures), settings.batch_size, fit.seed, step)

    source = batches(train, drawn(), masks=settings.masks, workers=machine.workers)
    with contextlib.closing(source):
        detector.train()
        for step, samples in zip(range(first, settings.steps), source, strict=False):
            lr = fit.lr * settings.lr_factor(step)
            for group in optimizer.param_groups:
                group["lr"] = lr
            losses = _losses(detector, samples, fit.seed, step, machine.device)
            loss = torch.stack(list(losses.values())).sum()
            if not math.isfinite(float(loss.detach())):
                _save(fit, -1, detector, None)
                return None
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            log.add(step + 1, losses, loss, lr, last=step + 1 == settings.steps)
            if machine.stopped.is_set() or due(step + 1):
                _save(fit, step + 1, detector, optimizer)
            if machine.stopped.is_set():
                raise Interrupted
        if not measure_batch_norm(detector, source, fit.seed, settings, machine):
            _save(fit, settings.steps, detector, optimizer)
            raise Interrupted
    _save(fit, settings.steps + 1, detector, None)
    return detector.eval()


def new_detector(fit: Fit, train: DetectionSet, settings: Settings, machine: Machine) -> GeneralizedRCNN:
    """Build the detector before its first step, on the device.

    Args:
        fit: Initialisation and seed.
        train: The training images.
        settings: The settings.
        machine: The device.

    Returns:
        The detector.
    """
    backbone = fit.initialisation.start(fit.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(fit.seed)
        detector = build_detector(backbone, len(train.classes), settings, bfloat16=machine.bfloat16)
    detector.backbone.to(memory_format=torch.channels_last)
    detector.roi_heads.to(memory_format=torch.channels_last)
    return detector.to(machine.device)


def parameter_groups(detector: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return the optimiser's parameter groups: no weight decay for scale and shift of BN, as in Detectron2.

    Args:
        detector: The detector.
        weight_decay: Weight decay of all other parameters.

    Returns:
        The groups.
    """
    norms = {
        id(parameter)
        for module in detector.modules()
        if isinstance(module, nn.BatchNorm2d)
        for parameter in module.parameters()
    }
    decayed = [parameter for parameter in detector.parameters() if id(parameter) not in norms]
    kept = [parameter for parameter in detector.parameters() if id(parameter) in norms]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]


@torch.no_grad()
def measure_batch_norm(
    detector: GeneralizedRCNN, source: Iterator[list[Sample]], seed: int, settings: Settings, machine: Machine
) -> bool:
    """Replace BN's running statistics by their mean over the next batches, with fixed weights.

    Training leaves a mean over only the last few batches, and each batch is small (Detectron2's precise BN).

    Args:
        detector: The detector.
        source: Batches.
        seed: Seed.
        settings: The settings.
        machine: The device and its options.

    Returns:
        False if the user stopped it; the statistics are then invalid.
    """
    norms = [module for module in detector.modules() if isinstance(module, nn.BatchNorm2d)]
    before = [norm.momentum for norm in norms]
    detector.train()
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # None: a plain mean
        for step, samples in zip(range(settings.bn_batches), source, strict=False):
            if machine.stopped.is_set():
                return False
            _losses(detector, samples, seed, settings.steps + step, machine.device)
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum
    return True


def _losses(
    detector: GeneralizedRCNN, samples: list[Sample], seed: int, step: int, device: torch.device
) -> dict[str, Tensor]:
    # torchvision draws image sizes, anchors and regions from torch's global generator
    torch.manual_seed(generator(seed, step, 12).initial_seed())
    images = [sample.image.to(device, non_blocking=True) for sample in samples]
    targets = [{name: value.to(device) for name, value in sample.target.items()} for sample in samples]
    return detector(images, targets)


def _begin(
    fit: Fit, settings: Settings, detector: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device
) -> int:
    """Restore the checkpoint and return the finished steps: ``steps`` + 1 if all is done, -1 after a divergence."""
    fit.folder.mkdir(parents=True, exist_ok=True)
    described, ours = fit.folder / "fit.json", fit.describe()
    try:
        known = json.loads(described.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = None
    except ValueError:
        raise UserError(f"{described}: damaged, not JSON; remove {fit.folder} to start it anew") from None
    if known is None:
        write_json(described, ours)
    elif known != ours:
        raise UserError(f"{fit.folder}: begun from other weights under the same name; choose another --out")
    for left in fit.folder.glob(f".{CHECKPOINT}.*.tmp"):  # left by a killed process
        left.unlink(missing_ok=True)
    file = fit.folder / CHECKPOINT
    try:
        state = torch.load(file, map_location=device, weights_only=True)
    except FileNotFoundError:
        return 0
    # on a damaged file torch can raise almost any exception
    except Exception:  # noqa: BLE001
        raise UserError(f"{file}: damaged; remove it to start this fine-tuning anew") from None
    try:
        detector.load_state_dict(state["model"])
        if state["optimizer"] is not None:
            optimizer.load_state_dict(state["optimizer"])
        return int(state["step"])
    except (KeyError, RuntimeError, ValueError, TypeError):
        raise UserError(f"{file}: does not fit this comparison; remove it to start this fine-tuning anew") from None


def _save(fit: Fit, step: int, detector: nn.Module, optimizer: torch.optim.Optimizer | None) -> None:
    state = {"step": step, "model": detector.state_dict(), "optimizer": optimizer and optimizer.state_dict()}
    save_checkpoint(fit.folder / CHECKPOINT, state)
