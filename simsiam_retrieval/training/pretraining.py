"""A whole pretraining run: find images, decode them, train, leave a run folder."""

import dataclasses
import platform
import sys
import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import torch
import torchvision
from torch import nn

from .. import cli
from .._version import __version__
from ..errors import UserError
from ..examples_folder import example_photos
from ..images.files import ImageFile, absolute, list_images
from ..images.store import ImageStore, load_store
from ..progress import bar
from .config import Config
from .initial import initial_backbone
from .loop import Collapsed, Interrupted, Progress, make_plan, pick_device, train
from .run import Run

TRIAL = {"image_size": 64, "batch_size": 32, "epochs": 80}
LINE_SECONDS = 30  # between progress lines where stderr is no terminal


def pretrain(
    config: Config,
    data: Sequence[Path],
    *,
    out: Path | None = None,
    resume: Path | None = None,
    init: str | None = None,
    device: str = "auto",
    workers: int | None = None,
) -> bool:
    """Train on the images in ``data``; returns whether the run came to its end.

    Prints the run folder to stdout. Raises :class:`UserError` for anything the user can mend; a run folder is
    only made once there are images to train on.
    """
    config.check()
    target = pick_device(device)
    if resume is not None:
        run, roots, config = _resumed(resume, config, data, out)
    else:
        roots = [Path(root) for root in data]
        if not roots:
            roots = [example_photos()]
            config = _trial(config)
        run = Run(out or _new_folder(config, trial=not data))
        _refuse_used(run.path)
    if init is not None and resume is not None:
        raise UserError("--resume goes on with the run's own weights; leave out --init")
    initial = None if init is None else initial_backbone(init, config)

    files = _list(roots)
    with bar("decoding", len(files)) as shown:
        store = load_store(files, config.store_side, workers=workers, progress=shown.advance)
    _report_rejected(store)
    if len(store) < 2:
        raise UserError("one image is not enough to train on: batch normalisation needs at least two")
    fingerprint = store.fingerprint()
    if resume is not None:
        if run.read().get("data", {}).get("fingerprint") != fingerprint:
            raise UserError(f"{run.path}: the images have changed since this run began; start a new run")
    else:
        run.path.mkdir(parents=True, exist_ok=True)
    plan = make_plan(config, len(store))
    lock = run.lock()
    try:
        if resume is None:
            if run.config_file.exists():  # another process was faster
                _refuse_used(run.path)
            run.write(config, init=init, data=_data_facts(roots, store, fingerprint), **_environment(target))
        cli.remark(
            f"{len(store)} images, {config.backbone} at {config.image_size} px, "
            f"batch {plan.batch_size}, {config.epochs} epochs, on {target}; run folder {run.path}"
        )
        finished = _train_with_bar(config, store, run, target, initial, plan.total_steps, resuming=resume is not None)
    finally:
        lock.release()
    if finished:
        cli.remark(f"done; next: python -m simsiam_retrieval.export {run.path}")
    else:
        cli.remark(f"stopped; go on with: python -m simsiam_retrieval.pretrain --resume {run.path}")
    print(run.path)
    return finished


def _train_with_bar(
    config: Config,
    store: ImageStore,
    run: Run,
    device: torch.device,
    initial: nn.Module | None,
    total_steps: int,
    *,
    resuming: bool,
) -> bool:
    spoken_at = time.monotonic()

    with bar("training", total_steps) as shown:

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
            train(config, store, run, device=device, resume=resuming, initial=initial, on_progress=on_progress)
        except Interrupted:
            return False
        except Collapsed as collapse:
            raise UserError(f"stopped at a {collapse}") from None
    return True


def _resumed(resume: Path, config: Config, data: Sequence[Path], out: Path | None) -> tuple[Run, list[Path], Config]:
    run = Run(resume)
    stored = run.config()
    changed = [
        f"--{field.name.replace('_', '-')}"
        for field in dataclasses.fields(Config)
        if getattr(stored, field.name) != getattr(config, field.name)
    ]
    if changed:
        raise UserError(f"--resume goes on with the run's own settings; leave out {', '.join(changed)}")
    if out is not None:
        raise UserError("--resume writes to the run that it goes on with; leave out --out")
    roots = list(data) or [Path(root) for root in run.read().get("data", {}).get("roots", [])]
    return run, roots, stored


def _trial(config: Config) -> Config:
    cli.remark(
        "No folder given: this is a short trial on the example photos, to see it run; it teaches an encoder little.\n"
        "For your own images: python -m simsiam_retrieval.pretrain FOLDER"
    )
    untouched = {name: value for name, value in TRIAL.items() if getattr(config, name) == getattr(Config(), name)}
    return dataclasses.replace(config, **untouched)


def _new_folder(config: Config, *, trial: bool) -> Path:
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    return Path("runs") / f"{'trial' if trial else config.method}-{config.backbone}-{stamp}"


def _refuse_used(path: Path) -> None:
    if (path / "config.json").exists():
        raise UserError(f"{path}: already a run; go on with --resume {path}, or choose another --out")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"{path}: exists and is not empty; choose another --out")


def _list(roots: Sequence[Path]) -> list[ImageFile]:
    listing = list_images(roots)
    if not listing.images:
        named = ", ".join(str(root) for root in roots)
        other = f" ({listing.other} other files)" if listing.other else ""
        raise UserError(f"{named}: no image files in there{other}; name a folder with JPEG, PNG, WebP, ... files")
    return listing.images


def _report_rejected(store: ImageStore) -> None:
    if store.rejected:
        cli.remark(f"{len(store.rejected)} files left out:")
        for path, reason in store.rejected[:5]:
            cli.remark(f"  {path}: {reason}")
        rest = Counter(reason for _, reason in store.rejected[5:])
        for reason, count in rest.most_common(5):
            cli.remark(f"  {count} more: {reason}")


def _data_facts(roots: Sequence[Path], store: ImageStore, fingerprint: str) -> dict:
    return {
        "roots": [str(absolute(root)) for root in roots],
        "images": len(store),
        "rejected": len(store.rejected),
        "fingerprint": fingerprint,
    }


def _environment(device: torch.device) -> dict:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "versions": {
            "simsiam-retrieval": __version__,
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "python": platform.python_version(),
        },
        "device": {"type": device.type, "name": name},
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
    }
