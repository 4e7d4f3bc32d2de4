"""The training loop: reads from top to bottom."""

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..images import augment
from ..images.store import ImageStore
from ..siamese.simsiam import collapse_free_std, output_std
from .config import Config
from .monitor import Monitor, Reading, explain, verdict
from .run import Run, build_model
from .schedule import cosine, warmup

CHECKPOINT_SECONDS = 300
ROW_SECONDS = 5
JUDGED_FROM = 20  # steps; before, outputs of a healthy run also lie close together
LOOK_SECONDS = 20  # at least, between the monitor's looks after the first epoch
MONITOR_IMAGES_AT_LEAST = 32  # with fewer to spare the monitor uses training images


@dataclass
class Progress:
    """Where a run stands, for whoever draws it."""

    epoch: int  # epochs finished
    step: int  # steps finished
    total_steps: int
    loss: float
    std: float  # of the normalised projections, times sqrt(dim): 1 is healthy, 0 is collapse
    images_per_second: float
    reading: Reading | None = None  # the monitor's, where it looked
    alarm: str | None = None  # set once, when the run begins to collapse


class Collapsed(Exception):
    """The run was ended by ``stop_on_collapse``; the message explains. Its checkpoint is written."""


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


@dataclass(frozen=True)
class Plan:
    """How a set of images becomes steps."""

    batch_size: int
    steps_per_epoch: int
    total_steps: int
    training: Tensor  # int64, rows of the store
    held_out: Tensor  # int64, rows of the store for the monitor; training images where there are too few to spare


def make_plan(config: Config, images: int) -> Plan:
    """Split ``images`` rows into training and held-out ones; raises :class:`UserError` for fewer than two."""
    order = torch.randperm(images, generator=_generator(config.seed, 0, 1))
    spared = min(config.held_out, images // 20)
    if spared < MONITOR_IMAGES_AT_LEAST:
        training, held_out = order.sort().values, order[: min(images, 256)]
    else:
        training, held_out = order[spared:].sort().values, order[:spared]
    batch_size = min(config.batch_size, len(training))
    if batch_size < 2:
        raise UserError("one image is not enough to train on: batch normalisation needs at least two")
    steps_per_epoch = len(training) // batch_size
    return Plan(batch_size, steps_per_epoch, config.epochs * steps_per_epoch, training, held_out)


def train(
    config: Config,
    store: ImageStore,
    run: Run,
    *,
    device: torch.device,
    resume: bool = False,
    initial: nn.Module | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> None:
    """Train until ``config.epochs``, writing ``metrics.jsonl`` and ``checkpoint.pt`` into ``run``.

    ``initial`` is a backbone whose weights to start from, instead of random ones.

    Every random draw is a function of (seed, step), so a resumed run repeats an undisturbed one exactly on a CPU.
    Raises :class:`Interrupted` after SIGINT or SIGTERM, once the checkpoint is written.
    """
    plan = make_plan(config, len(store))
    batch_size, steps_per_epoch, total_steps = plan.batch_size, plan.steps_per_epoch, plan.total_steps
    lr = config.base_lr * batch_size / 256
    warmup_steps = config.warmup_epochs * steps_per_epoch
    pairs = 2 if config.symmetry == "asymmetric-2x" else 1

    torch.manual_seed(config.seed)
    model = build_model(config)
    if initial is not None:
        model.backbone.load_state_dict(initial.state_dict())
    model = model.to(device).to(memory_format=torch.channels_last).train()
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
    monitor = Monitor(views, pixels[plan.held_out], aspect[plan.held_out], _generator(config.seed, 0, 2))
    report = _Report(config, run, plan, lambda: monitor.look(model, device), on_progress)
    saved_at = time.monotonic()
    order: Tensor | None = None

    def save(done: int) -> None:
        run.save_checkpoint({"step": done, "model": model.state_dict(), "optimizer": optimizer.state_dict()})

    with _stop_signals() as stopped:
        for step in range(first, total_steps):
            epoch, position = divmod(step, steps_per_epoch)
            if order is None or position == 0:
                order = plan.training[torch.randperm(len(plan.training), generator=_generator(config.seed, epoch, 0))]
            chosen = order[position * batch_size : (position + 1) * batch_size]
            batch = pixels[chosen].to(device, non_blocking=True)
            x = [
                augment.apply(views, batch, augment.draw(views, aspect[chosen], _generator(config.seed, step, view)))
                for view in range(1, 2 * pairs + 1)
            ]
            for group in optimizer.param_groups:
                decaying = group["decay_lr"]
                group["lr"] = lr * (cosine(step, total_steps, warmup_steps) if decaying else warmup(step, warmup_steps))
            with torch.autocast(device.type, torch.bfloat16, enabled=_bfloat16_helps(device, config)):
                outputs = [model(*x[2 * pair : 2 * pair + 2]) for pair in range(pairs)]
            loss = torch.stack([output.loss for output in outputs]).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

            alarm = report.add(step + 1, loss.detach(), outputs[0].z, optimizer.param_groups[0]["lr"])
            if alarm and config.stop_on_collapse:
                save(step + 1)
                raise Collapsed(alarm)
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

    def __init__(
        self,
        config: Config,
        run: Run,
        plan: Plan,
        look: Callable[[], Reading],
        on_progress: Callable[[Progress], None],
    ) -> None:
        self.config, self.run, self.plan, self.look, self.on_progress = config, run, plan, look, on_progress
        self.losses: list[Tensor] = []
        self.stds: list[Tensor] = []
        self.since = self.looked_at = time.monotonic()
        self.alarmed = False
        # a run that collapses does so early: look four times in the first epoch, where it is long enough for that
        first = plan.steps_per_epoch
        self.early = {max(1, first * quarter // 4) for quarter in (1, 2, 3, 4)} if first >= JUDGED_FROM else {first}

    def add(self, step: int, loss: Tensor, z: Tensor, lr: float) -> str | None:
        """Take in one step; returns the alarm when the run has just been found to collapse."""
        self.losses.append(loss)
        self.stds.append(output_std(z))
        epoch_ends = step % self.plan.steps_per_epoch == 0
        now = time.monotonic()
        if now - self.since < ROW_SECONDS and not epoch_ends and step not in self.early:
            return None
        loss_mean = float(torch.stack(self.losses).mean())
        healthy = collapse_free_std(self.config.projector_dim)
        std = float(torch.stack(self.stds).mean()) / healthy
        last_std = float(self.stds[-1]) / healthy
        seconds = time.monotonic() - self.since
        rate = self.plan.batch_size * len(self.losses) / seconds
        reading, finite = None, math.isfinite(loss_mean)
        due = epoch_ends and now - self.looked_at > LOOK_SECONDS
        if due or step in self.early or step == self.plan.total_steps:
            with contextlib.suppress(FloatingPointError):
                reading = self.look()
            finite = finite and reading is not None
            self.looked_at = time.monotonic()
        if not finite:
            raise UserError(f"the loss is not a number at step {step}; try a lower --base-lr")
        epoch = step / self.plan.steps_per_epoch
        kind = verdict(last_std, reading if step >= JUDGED_FROM else None, self.config.projector_dim)
        row: dict[str, Any] = {
            "step": step,
            "epoch": round(epoch, 4),
            "loss": round(loss_mean, 6),
            "std": round(std, 6),
            "lr": round(lr, 8),
            "images_per_second": round(rate, 2),
            **(reading.row() if reading else {}),
            **({"verdict": kind} if kind else {}),
        }
        self.run.append_metrics(row)
        alarm = None
        if kind and not self.alarmed:
            self.alarmed = True
            alarm = explain(
                kind, last_std, reading, stop_gradient=self.config.stop_gradient, batch_size=self.plan.batch_size
            )
        self.on_progress(Progress(int(epoch), step, self.plan.total_steps, loss_mean, std, rate, reading, alarm))
        self.losses, self.stds, self.since = [], [], time.monotonic()
        return alarm


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
