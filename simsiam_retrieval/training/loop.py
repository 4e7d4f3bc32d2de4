"""The training loop: reads from top to bottom."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from ..images import augment
from ..images.store import ImageStore
from ..siamese.simsiam import output_std
from .config import Config
from .run import Run, build_model
from .schedule import cosine

CHECKPOINT_SECONDS = 300
ROW_SECONDS = 5


@dataclass
class Progress:
    """Where a run stands, for whoever draws it."""

    epoch: int  # epochs finished
    step: int  # steps finished
    total_steps: int
    loss: float
    std: float  # of the normalised projections, times sqrt(dim): 1 is healthy, 0 is collapse
    images_per_second: float


class Interrupted(Exception):
    """The run was asked to stop and has written its checkpoint."""


def pick_device(name: str = "auto") -> torch.device:
    """``auto`` takes CUDA where there is a working GPU; raises :class:`UserError` for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError):
        raise UserError(f"--device {name}: not available here; leave it out, or use cpu") from None
    return device


def augmentation_of(config: Config) -> augment.Augmentation:
    """The views of a run; blur's sigma is in proportion to the image, so that 64 px views are not wiped out."""
    scale = min(1.0, config.image_size / 224)
    return augment.Augmentation(
        image_size=config.image_size,
        min_scale=config.min_scale,
        blur_probability=config.blur,
        blur_sigma=(0.1 * scale, 2.0 * scale),
    )


def train(
    config: Config,
    store: ImageStore,
    run: Run,
    *,
    device: torch.device,
    resume: bool = False,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> None:
    """Train until ``config.epochs``, writing ``metrics.jsonl`` and ``checkpoint.pt`` into ``run``.

    Every random draw is a function of (seed, step), so a resumed run repeats an undisturbed one exactly on a CPU.
    Raises :class:`Interrupted` after SIGINT or SIGTERM, once the checkpoint is written.
    """
    batch_size = min(config.batch_size, len(store))
    if batch_size < 2:
        raise UserError("one image is not enough to train on: batch normalisation needs at least two")
    steps_per_epoch = len(store) // batch_size
    total_steps = config.epochs * steps_per_epoch
    lr = config.base_lr * batch_size / 256

    torch.manual_seed(config.seed)
    model = build_model(config).to(device).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(
        model.parameter_groups(), lr=lr, momentum=config.momentum, weight_decay=config.weight_decay
    )
    first = 0
    if resume:
        first = _restore(run, model, optimizer, device)
        run.truncate_metrics(first)

    pixels = torch.from_numpy(store.pixels)
    aspect = torch.from_numpy(store.aspect)
    views = augmentation_of(config)
    report = _Report(run, steps_per_epoch, total_steps, batch_size, config.projector_dim, on_progress)
    saved_at = time.monotonic()
    order: Tensor | None = None

    def save(done: int) -> None:
        run.save_checkpoint({"step": done, "model": model.state_dict(), "optimizer": optimizer.state_dict()})

    with _stop_signals() as stopped:
        for step in range(first, total_steps):
            epoch, position = divmod(step, steps_per_epoch)
            if order is None or position == 0:
                order = torch.randperm(len(store), generator=_generator(config.seed, epoch, 0))
            chosen = order[position * batch_size : (position + 1) * batch_size]
            batch = pixels[chosen].to(device, non_blocking=True)
            x1, x2 = (
                augment.apply(views, batch, augment.draw(views, aspect[chosen], _generator(config.seed, step, view)))
                for view in (1, 2)
            )

            for group in optimizer.param_groups:
                group["lr"] = lr * cosine(step, total_steps) if group["decay_lr"] else lr
            with torch.autocast(device.type, torch.bfloat16, enabled=_bfloat16_helps(device, config)):
                output = model(x1, x2)
            optimizer.zero_grad(set_to_none=True)
            output.loss.backward()
            optimizer.step()

            report.add(step + 1, output.loss.detach(), output.z, optimizer.param_groups[0]["lr"])
            if stopped.is_set() or time.monotonic() - saved_at > CHECKPOINT_SECONDS:
                save(step + 1)
                saved_at = time.monotonic()
                if stopped.is_set():
                    raise Interrupted
        save(total_steps)


def _generator(seed: int, *key: int) -> torch.Generator:
    """A CPU generator for one purpose: equal keys give equal draws, whatever was drawn before."""
    mixed = seed
    for part in key:
        mixed = (mixed * 6364136223846793005 + part + 1442695040888963407) % 2**63
    return torch.Generator().manual_seed(mixed)


def _bfloat16_helps(device: torch.device, config: Config) -> bool:
    # oneDNN's bfloat16 gradient of a strided convolution on a 1x1 map leaves unused taps uninitialised
    if device.type == "cpu" and config.image_size < 32:
        return False
    # without the instructions for it, bfloat16 on a CPU is emulated and many times slower
    return device.type == "cuda" or (device.type == "cpu" and torch.cpu._is_avx512_bf16_supported())


def _restore(run: Run, model: torch.nn.Module, optimizer: torch.optim.Optimizer, device: torch.device) -> int:
    state = run.load_checkpoint(device)
    try:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        return int(state["step"])
    except (KeyError, RuntimeError, ValueError, TypeError):
        raise UserError(
            f"{run.checkpoint_file}: does not fit {run.config_file}; one of them is from another run"
        ) from None


class _Report:
    """Averages steps into rows, without making the device wait more often than a row is written."""

    def __init__(self, run, steps_per_epoch, total_steps, batch_size, dim, on_progress) -> None:
        self.run, self.steps_per_epoch, self.total_steps = run, steps_per_epoch, total_steps
        self.batch_size, self.dim, self.on_progress = batch_size, dim, on_progress
        self.losses: list[Tensor] = []
        self.stds: list[Tensor] = []
        self.since = time.monotonic()

    def add(self, step: int, loss: Tensor, z: Tensor, lr: float) -> None:
        self.losses.append(loss)
        self.stds.append(output_std(z))
        seconds = time.monotonic() - self.since
        if seconds < ROW_SECONDS and step % self.steps_per_epoch and step != self.total_steps:
            return
        loss_mean = float(torch.stack(self.losses).mean())
        std_mean = float(torch.stack(self.stds).mean()) * self.dim**0.5
        seconds = time.monotonic() - self.since
        rate = self.batch_size * len(self.losses) / seconds
        if loss_mean != loss_mean:
            raise UserError(f"the loss is not a number at step {step}; try a lower --base-lr")
        epoch = step / self.steps_per_epoch
        row: dict[str, Any] = {
            "step": step,
            "epoch": round(epoch, 4),
            "loss": round(loss_mean, 6),
            "std": round(std_mean, 6),
            "lr": round(lr, 8),
            "images_per_second": round(rate, 2),
        }
        self.run.append_metrics(row)
        self.on_progress(Progress(int(epoch), step, self.total_steps, loss_mean, std_mean, rate))
        self.losses, self.stds, self.since = [], [], time.monotonic()


@contextlib.contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """Turn the first SIGINT or SIGTERM into an event; a second one acts as usual."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped  # signals can only be caught in the main thread
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number, frame) -> None:
        stopped.set()
        signal.signal(number, before[number])

    for number in before:
        signal.signal(number, stop)
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
