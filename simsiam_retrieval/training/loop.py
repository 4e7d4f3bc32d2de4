"""The training loop."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import UserError
from ..core.randomness import generator
from ..methods.base import Step, output_std
from ..methods.small_map_layers import SmallMapConv2d
from . import augmentation
from .batches import Batches
from .build_model import build_model
from .checkpoint import checkpoint_clock
from .config import Config
from .data_split import make_plan
from .knn_monitor import KnnCheck
from .monitor import Monitor
from .optimizer import build_optimizer, constant, cosine
from .passes import learn
from .pixel_store import ImageStore
from .run_folder import Run
from .run_options import USUAL, Options
from .stop_signals import stop_signals
from .torchrun_processes import ALONE, Processes
from .training_report import NotFinite, Progress, Report


class Collapsed(Exception):
    """``stop_on_collapse`` ended the run; the message explains why. Its checkpoint is written."""


class Diverged(UserError):
    """The loss or the network's outputs are NaN or infinite."""


class Interrupted(Exception):
    """The user stopped the run; its checkpoint is written."""


def pick_device(name: str = "auto", processes: Processes = ALONE) -> torch.device:
    """Choose the device. Under a launcher, each process gets one GPU.

    Args:
        name: "auto" (CUDA if there is a working GPU), "cpu", "cuda" or "cuda:N".
        processes: The processes that train together.

    Returns:
        torch device.

    Raises:
        UserError: The device does not exist.
    """
    if name in ("auto", "cuda") and processes.count > 1 and torch.cuda.is_available():
        if processes.local_rank >= torch.cuda.device_count():
            raise UserError(f"more processes than GPUs on this machine; --nproc-per-node {torch.cuda.device_count()}")
        return torch.device("cuda", processes.local_rank)
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


def augmentation_of(config: Config) -> augmentation.Augmentation:
    """Return the augmentation of a run.

    The blur's sigma is proportional to the image size, because a sigma for 224 px would remove all detail at 64 px.

    Args:
        config: Settings of the run.

    Returns:
        The augmentation.
    """
    scale = min(1.0, config.image_size / 224)
    usual = augmentation.Augmentation()
    return augmentation.Augmentation(
        image_size=config.image_size,
        min_scale=config.min_scale,
        brightness=config.jitter * usual.brightness,
        contrast=config.jitter * usual.contrast,
        saturation=config.jitter * usual.saturation,
        hue=config.jitter * usual.hue,
        grey_probability=config.grey,
        blur_probability=config.blur,
        recompress_probability=config.recompress,
        blur_sigma=(0.1 * scale, 2.0 * scale),
        normalisation=config.normalisation,
    )


def views_of(config: Config) -> list[augmentation.Augmentation]:
    """Return the augmentation of each view of an image: the pairs, then the further views in the order of their kinds.

    Args:
        config: Settings of the run.

    Returns:
        The augmentations.
    """
    usual = augmentation_of(config)
    small = dataclasses.replace(
        augmentation_of(dataclasses.replace(config, image_size=config.small_side)),
        min_scale=config.small_min_scale,
        max_scale=config.small_max_scale,
    )
    further = {"small": small, "cutout": dataclasses.replace(usual, cutout=config.cutout)}
    return [usual] * config.views + [further[kind] for kind in config.further_views]


def train(
    config: Config,
    store: ImageStore,
    run: Run,
    *,
    device: torch.device,
    resume: bool = False,
    initial: nn.Module | None = None,
    processes: Processes = ALONE,
    options: Options = USUAL,
    labels: Tensor | None = None,
    log: Callable[[dict[str, Any]], None] = lambda row: None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    enough: Callable[[], bool] = lambda: False,
) -> None:
    """Train to the end of the run, and write ``metrics.jsonl`` and ``checkpoint.pt``.

    Every random draw depends only on (seed, step). So a resumed run repeats an uninterrupted one, exactly on a CPU, and
    several processes see the same as one.

    Args:
        config: Settings of the run.
        store: The images.
        run: The run folder.
        device: torch device.
        resume: Whether to continue from the checkpoint.
        initial: Backbone to start from, instead of random weights.
        processes: The processes that train together.
        options: Runtime options.
        labels: int64 (n,), only for the monitor's kNN accuracy.
        log: Called with each row of metrics.
        on_progress: Called with the progress at each row.
        enough: Called after each step; if it returns True in any process, the run stops as after a signal.

    Raises:
        Interrupted: SIGINT or SIGTERM; the checkpoint is written.
        Collapsed: ``stop_on_collapse`` is set and the monitor found a collapse.
        Diverged: The loss is NaN or infinite.
    """
    plan = make_plan(config, len(store), processes.count)
    lr = config.base_lr * plan.batch_size / 256
    warmup_steps = config.warmup_epochs * plan.steps_per_epoch
    views = augmentation_of(config)

    torch.manual_seed(config.seed)
    model = build_model(config)
    if initial is not None:
        model.start_from(initial)
    model = model.to(device).to(memory_format=torch.channels_last).train()
    bfloat16 = options.bfloat16 and _bfloat16_helps(device, config)
    if device.type == "cpu" and options.compile:
        # a compiled network uses oneDNN's convolutions, whose bfloat16 gradients on 1x1 maps are uninitialised
        bfloat16 = bfloat16 and config.smallest_side > 32
    elif device.type == "cpu":
        SmallMapConv2d.replace(model, fast=options.fast_convolutions)
    if options.compile:
        model.backbone.compile()
    network = processes.together(model, device)
    optimizer = build_optimizer(config, model.parameter_groups(), lr, device)
    first, unreported = 0, torch.zeros(0, 2)
    if resume:
        first, unreported = _restore(run, model, optimizer, device)
    if processes.first:
        run.truncate_metrics(first)  # also when a launcher repeats the start

    held_out = plan.held_out.numpy()
    monitor = Monitor(
        views,
        torch.from_numpy(store.take(held_out)),
        torch.from_numpy(store.aspect[held_out]),
        generator(config.seed, 0, 2),
        None if labels is None else KnnCheck(views, store, plan, labels),
    )
    report = Report(config, run, plan, lambda: monitor.look(model, device), on_progress, log)
    report.measured = list(unreported.to(device))  # steps that are not in any row yet
    due = checkpoint_clock(options.checkpoint_minutes, options.checkpoint_epochs * plan.steps_per_epoch)
    settings = views_of(config)
    batches = Batches(store, plan, settings, device, processes=processes)
    precision = partial(torch.autocast, device.type, torch.bfloat16, enabled=bfloat16)

    def save(done: int) -> None:
        if processes.first:
            state = {"step": done, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
            run.save_checkpoint({**state, "unreported": report.unreported()})

    with stop_signals(insist=processes.count > 1) as stopped:
        for batch in batches.after(first):
            done = batch.step + 1
            step = Step(batch.step, plan.total_steps, plan.steps_per_epoch, config.seed, len(store), batch.rows)
            x = [augmentation.apply(own, batch.pixels, drawn) for own, drawn in zip(settings, batch.views, strict=True)]
            for group in optimizer.param_groups:
                schedule = cosine if group["decay_lr"] else constant
                group["lr"] = lr * schedule(batch.step, plan.total_steps, warmup_steps)
            optimizer.zero_grad(set_to_none=True)
            output = learn(network, model, x, config.further_views, step, precision=precision, processes=processes)
            model.before_update(step)
            optimizer.step()
            model.after_update(step)

            measured = processes.average(torch.stack([output.loss.detach(), output_std(output.z)]))
            alarm = failure = None
            if processes.first:
                try:
                    alarm = report.add(done, measured, optimizer.param_groups[0]["lr"])
                except NotFinite:
                    failure = f"the loss is not a number at step {done}; try a lower --base-lr"
                    failure += ", or --no-bfloat16" if bfloat16 else ""
            collapsed, failed, asked = processes.any(
                bool(alarm) and config.stop_on_collapse, failure is not None, stopped.is_set() or enough()
            )
            if failed:
                raise Diverged(failure or "ended by the first process, which says why")
            if collapsed or asked or due(done):
                save(done)
            if collapsed or asked:
                processes.wait()  # a launcher ends all processes when one has ended
                raise Collapsed(alarm or "collapse, which the first process describes") if collapsed else Interrupted
        save(plan.total_steps)
        processes.wait()


def _bfloat16_helps(device: torch.device, config: Config) -> bool:
    # on a CPU without bfloat16 instructions it is emulated and many times slower
    return device.type == "cuda" or (device.type == "cpu" and torch.cpu._is_avx512_bf16_supported())


def _restore(
    run: Run, model: torch.nn.Module, optimizer: torch.optim.Optimizer, device: torch.device
) -> tuple[int, Tensor]:
    """Load a checkpoint; return its step, and loss and std (n, 2) of the steps that are in no row of metrics yet."""
    state = run.load_checkpoint(device)
    try:
        model.load_state_dict(state["model"])
        fused = optimizer.param_groups[0].get("fused")
        optimizer.load_state_dict(state["optimizer"])
        for group in optimizer.param_groups:
            group["fused"] = fused  # depends on the device, not on the run
        unreported = state.get("unreported", torch.zeros(0, 2))  # older checkpoints have none
        if unreported.ndim != 2 or unreported.shape[1] != 2:
            raise ValueError
        return int(state["step"]), unreported
    except (KeyError, RuntimeError, ValueError, TypeError, AttributeError):
        raise UserError(
            f"{run.checkpoint_file}: does not fit {run.config_file}; one of them is from another run"
        ) from None
