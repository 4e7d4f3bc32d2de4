"""A complete pretraining run: find images, decode them, train, write a run folder."""

import contextlib
import dataclasses
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ..core import cli
from ..core.errors import UserError
from ..core.example_photos import example_photos
from ..core.paths import absolute
from ..core.progress import bar
from .config import Config
from .data_split import Plan, make_plan
from .duration import fit_into
from .experiment_trackers import tracking
from .freed_memory import keep_freed_memory
from .initial_weights import initial_backbone, initial_facts
from .knn_monitor import can_check, folder_labels
from .loop import Collapsed, Interrupted, augmentation_of, pick_device, train
from .measured_channels import with_measured_channels
from .new_run import environment, new_folder, refuse_used, trial_settings
from .pixel_store import ImageStore
from .recipes import export_facts
from .resume_run import begun, broke_off, is_finished, note_more_epochs, resumed
from .run_folder import Run
from .run_options import USUAL, Options
from .torchrun_processes import Processes, joined
from .training_images import data_facts, find_images, load_images, report_rejected, without_copies
from .training_report import Progress
from .view_sheet import write_views

LINE_SECONDS = 30  # time between progress lines if stderr is no terminal
TRIAL_REMARK = (
    "No folder given: this is a short trial on the example photos, to see it run; it teaches an encoder little.\n"
    "For your own images: python -m simsiam_retrieval.pretrain FOLDER"
)


def pretrain(config: Config, data: Sequence[Path], options: Options = USUAL, *, began: float | None = None) -> bool:
    """Train on images and print the run folder to stdout.

    Under ``torchrun`` every process calls this; the first one writes files and messages. If the launcher restarts all
    processes after a failure, the run continues from its last checkpoint. A run folder is created only if there are
    images to train on.

    Args:
        config: Settings of the run.
        data: Folders of images; empty for a trial on the example photos.
        options: Runtime options.
        began: ``time.monotonic()`` at the command's start, from which ``options.minutes`` counts; default: now.

    Returns:
        False if the user stopped it.

    Raises:
        UserError: Something that the user can fix.
    """
    config.check()
    options.check()
    began = time.monotonic() if began is None else began
    with joined() as processes:
        return _pretrain(config, data, options, processes, began)


def _pretrain(config: Config, data: Sequence[Path], options: Options, processes: Processes, began: float) -> bool:
    target = pick_device(options.device, processes)
    if target.type == "cpu":
        keep_freed_memory()
    new = processes.from_first(options.out or new_folder(config, trial=not data))
    resume = options.resume
    if resume is None and processes.restarts and begun(new):
        resume = new
    if resume is not None:
        if options.out is not None and options.resume is not None:
            raise UserError("--resume writes to the run that it continues; leave out --out")
        if options.init is not None and options.resume is not None:
            raise UserError("--resume continues with the run's own weights; leave out --init")
        if options.minutes is not None and options.resume is not None:
            raise UserError("--resume continues to the run's own end; leave out --minutes")
        if options.minutes is not None:  # after a restart by the launcher: the run has its epochs
            kept = Run(resume).config()
            config = dataclasses.replace(config, epochs=kept.epochs, steps=kept.steps)
        run, roots, config = resumed(resume, config, data)
        if broke_off(run.path):
            _remark(processes, f"{run.path}: ended before its first checkpoint; starting over")
    else:
        roots = [Path(root) for root in data]
        if not roots:
            roots = [example_photos()]
            config = trial_settings(config)
            _remark(processes, TRIAL_REMARK)
        run = Run(new)
        if not processes.restarts:
            refuse_used(run.path)
    stored = {} if resume is None else run.read()
    going_on = resume is not None and not broke_off(run.path)
    # a run that has no checkpoint starts over, from the same weights
    init = options.init if resume is None else None if going_on else stored.get("init")
    initial = None if init is None else initial_backbone(init, config)

    described = stored.get("data", {})
    cache = options.cache or (Path(described["cache"]) if described.get("cache") else None)
    listing = find_images(roots)
    store = load_images(
        listing.images,
        config.store_side,
        processes,
        cache=cache,
        known_bad={} if resume is None else run.read_rejected(),
        workers=options.workers,
        reading=config.reading,
    )
    if processes.first:
        report_rejected(listing, store)
    if config.thin:
        store = without_copies(store, processes)
    if len(store) < 2:
        raise UserError("one image is not enough to train on: batch normalisation needs at least two")
    fingerprint = store.fingerprint()
    if fingerprint != processes.from_first(fingerprint):
        raise UserError("this process finds other images than the first one; all machines need the same folders")
    if resume is not None and not store.has_fingerprint(described.get("fingerprint")):
        raise UserError(f"{run.path}: the images have changed since this run began; start a new run")
    config = with_measured_channels(config, store)
    plan = make_plan(config, len(store), processes.count)
    labels = _labels(options, store, roots, plan, processes)
    if options.minutes is not None and resume is None:
        config = _fitted(config, store, target, initial, options, labels, processes, began)
        plan = make_plan(config, len(store), processes.count)
    with _writing(run, processes):
        if resume is None and processes.first:
            if run.config_file.exists() and not processes.restarts:  # perhaps another process was faster
                refuse_used(run.path)
            facts = {"data": data_facts(roots, store, fingerprint, cache), **environment(target, processes)}
            if initial is not None and options.init is not None:
                facts |= initial_facts(options.init, config)
            else:
                facts |= export_facts(config)
            run.write(config, init=options.init, **facts)
            try:
                write_views(run, augmentation_of(config), store, plan, config.reading.bands)
            except OSError as error:  # only a picture, not needed by the run
                cli.remark(f"{run.path}: no picture of the views ({error.strerror})")
        elif processes.first and config != run.config():
            note_more_epochs(run, config)
        elif processes.first and going_on and is_finished(run):
            cli.remark(f"{run.path}: at its end already; to train it on, add a larger --epochs")
        if processes.first:
            run.write_rejected(store.rejected)
        _remark(
            processes,
            f"{len(store)} images, {config.backbone} at {config.image_size} px, batch {plan.batch_size}, "
            f"{_epochs(config, plan)}, on {target}{_shared(plan, processes)}; run folder {run.path}",
        )
        finished = _train_with_bar(
            config,
            store,
            run,
            target,
            initial,
            plan,
            labels,
            options,
            processes,
            resuming=going_on,
        )
    if finished:
        _remark(processes, f"done; next: python -m simsiam_retrieval.export {run.path}")
    else:
        _remark(processes, f"stopped; go on with: python -m simsiam_retrieval.pretrain --resume {run.path}")
    if processes.first:
        print(run.path)
    return finished


def _train_with_bar(
    config: Config,
    store: ImageStore,
    run: Run,
    device: torch.device,
    initial: nn.Module | None,
    plan: Plan,
    labels: Tensor | None,
    options: Options,
    processes: Processes,
    *,
    resuming: bool,
) -> bool:
    spoken_at = time.monotonic()
    tracker = options.tracker if processes.first else None

    with bar("training", plan.total_steps, show=processes.first) as shown, tracking(tracker, run.path, config) as log:

        def on_progress(now: Progress) -> None:
            nonlocal spoken_at
            note = f"epoch {now.epoch}/{config.epochs}  loss {now.loss:+.4f}  std {now.std:.2f}"
            note += f"  {now.images_per_second:.0f} images/s"
            shown.at(now.step)
            shown.note(note)
            if now.alarm:
                cli.remark(f"warning: {now.alarm}")
            if not sys.stderr.isatty() and (time.monotonic() - spoken_at > LINE_SECONDS or now.step == now.total_steps):
                cli.remark(f"step {now.step}/{now.total_steps}  {note}")
                spoken_at = time.monotonic()

        try:
            train(
                config,
                store,
                run,
                device=device,
                resume=resuming,
                initial=initial,
                processes=processes,
                options=options,
                labels=labels,
                log=log,
                on_progress=on_progress,
            )
        except Interrupted:
            return False
        except Collapsed as collapse:
            raise UserError(f"stopped at a {collapse}") from None
    return True


def _fitted(
    config: Config,
    store: ImageStore,
    device: torch.device,
    initial: nn.Module | None,
    options: Options,
    labels: Tensor | None,
    processes: Processes,
    began: float,
) -> Config:
    """The settings with as many epochs as ``options.minutes`` leave time for."""
    assert options.minutes is not None
    ends = began + 60 * options.minutes
    _remark(processes, "measuring the speed, for --minutes")
    return fit_into(
        lambda: ends - time.monotonic(),
        config,
        store,
        device=device,
        initial=initial,
        processes=processes,
        options=options,
        labels=labels,
    )


def _epochs(config: Config, plan: Plan) -> str:
    if plan.total_steps == config.epochs * plan.steps_per_epoch:
        return f"{config.epochs} epochs"
    return f"{plan.total_steps / plan.steps_per_epoch:.2f} epochs"


@contextlib.contextmanager
def _writing(run: Run, processes: Processes) -> Iterator[None]:
    """Hold the run's lock in the first process; raises ``UserError`` when another program writes to the run."""
    if not processes.first:
        yield
        return
    run.path.mkdir(parents=True, exist_ok=True)
    lock = run.lock()
    run.tidy()
    try:
        yield
    finally:
        lock.release()


def _labels(
    options: Options, store: ImageStore, roots: Sequence[Path], plan: Plan, processes: Processes
) -> Tensor | None:
    if not options.labels:
        return None
    labels = folder_labels([file.label for file in store.files], [absolute(root) for root in roots])
    if can_check(plan, labels):
        return labels
    _remark(
        processes,
        "--labels: no kNN accuracy, for lack of held-out images with labels; it needs two folders of images or more, "
        "and 640 images or more",
    )
    return None


def _remark(processes: Processes, text: str) -> None:
    if processes.first:
        cli.remark(text)


def _shared(plan: Plan, processes: Processes) -> str:
    if processes.count == 1:
        return ""
    return f" in {processes.count} processes, {plan.batch_size // processes.count} images each"
