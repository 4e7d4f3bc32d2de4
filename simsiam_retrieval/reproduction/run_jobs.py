"""Running jobs: one after another in this process, or one per group of GPUs in separate processes."""

import contextlib
import dataclasses
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import torch

from ..core import cli
from ..core.atomic_files import write_json
from ..core.errors import UserError
from ..training.config import Config
from ..training.data_split import make_plan
from ..training.loop import Diverged, pick_device
from ..training.run_folder import load_backbone
from ..training.run_options import Options
from ..training.stop_signals import stop_signals
from ..training.trainer import pretrain
from .measure_run import Measure, random_backbone
from .plan_runs import LABELS_FROM, Data, Job
from .scales import Protocol
from .stored_measurement import BASELINE, Measurement, write_measurement

WATCH_SECONDS = 0.5  # time between checks whether the user wants to stop


@dataclass(frozen=True)
class Place:
    """Runtime options that do not change the result.

    Attributes:
        cache: Folder of decoded training images, shared by all rows.
        device: Name of the device.
        workers: Number of worker processes; None chooses it.
        keep_weights: False deletes a run's checkpoint after measuring.
    """

    cache: Path
    device: str = "auto"
    workers: int | None = None
    keep_weights: bool = True


def run_all(
    todo: Sequence[Job],
    data: Data,
    protocol: Protocol,
    place: Place,
    *,
    gpus_per_run: int = 1,
    on_measured: Callable[[], object] = lambda: None,
) -> bool:
    """Run and measure jobs; unfinished runs are continued.

    A run whose loss becomes NaN or infinite is stored as a result, and the others continue. With several GPUs,
    ``len(GPUs) // gpus_per_run`` processes run jobs at the same time.

    Args:
        todo: The jobs.
        data: The two labelled folders.
        protocol: How to measure.
        place: Runtime options.
        gpus_per_run: GPUs of each run.
        on_measured: Called after each job.

    Returns:
        False if the user stopped it.

    Raises:
        UserError: Something that the user can fix.
    """
    if not todo:
        return True
    for job in todo:
        if (job.folder / "config.json").exists() and not (job.folder / "checkpoint.pt").exists():
            shutil.rmtree(job.folder)  # it ended before its first checkpoint, so nothing can be continued
    for job in todo:  # check all before the first run, which may take days
        try:
            make_plan(job.config, len(data.train.files), gpus_per_run)
        except UserError as error:
            raise UserError(f"{job.titles[0]}: {error}") from None
    groups = gpu_groups(place.device, gpus_per_run)
    if len(groups) > 1 or gpus_per_run > 1:
        return _run_in_processes(todo, data, protocol, place, groups, on_measured)
    measure = Measure(data, protocol, pick_device(place.device), place.cache, place.workers)
    for number, job in enumerate(todo, 1):
        cli.remark(f"[{number}/{len(todo)}] {'; '.join(job.titles)}; seed {job.config.seed}")
        if not run_job(job, data, protocol, place, measure):
            return False
        on_measured()
    return True


def run_job(job: Job, data: Data, protocol: Protocol, place: Place, measure: Measure) -> bool:
    """Train (or continue) and measure one job. Under ``torchrun`` all processes train, and the first one measures.

    Args:
        job: The job.
        data: The two labelled folders.
        protocol: How to measure.
        place: Runtime options.
        measure: Measures the backbone.

    Returns:
        False if the user stopped it.
    """
    first = os.environ.get("RANK", "0") == "0"
    try:
        if not _train(job, data, place):
            return False
        if not first:
            return True
        results, failed = measure(load_backbone(job.folder)[0], job.config), None
    except Diverged as error:
        results, failed = {}, str(error).partition(";")[0]  # only the first part: a table does not need the advice
    except FloatingPointError:
        results, failed = {}, "its features are not numbers"
    except torch.OutOfMemoryError:
        cli.remark(f"{job.folder.name}: does not fit into the GPU's memory; skipped, the other runs continue")
        return True
    if not first:
        return True
    write_measurement(job.folder, Measurement(data.digest, dataclasses.asdict(protocol), results, failed))
    if failed:
        cli.remark(f"{job.folder.name}: {failed}: kept as this row's result")
    if not place.keep_weights:
        (job.folder / "checkpoint.pt").unlink(missing_ok=True)
    return True


def _train(job: Job, data: Data, place: Place) -> bool:
    begun = (job.folder / "checkpoint.pt").exists()
    options = Options(
        out=None if begun else job.folder,
        resume=job.folder if begun else None,
        device=place.device,
        workers=place.workers,
        cache=place.cache,
        labels=len(data.train.files) >= LABELS_FROM,
    )
    with contextlib.redirect_stdout(io.StringIO()):  # pretrain prints its folder as its result; this command must not
        return pretrain(job.config, [data.train.given], options)


def measure_baseline(out: Path, config: Config, data: Data, protocol: Protocol, place: Place) -> None:
    """Measure a backbone with random weights, unless that was done already.

    Args:
        out: Folder of all runs; the result is stored there.
        config: Settings of the backbone.
        data: The two labelled folders.
        protocol: How to measure.
        place: Runtime options.
    """
    about = {
        "backbone": config.backbone,
        "stem": config.stem,
        "image_size": config.image_size,
        "digest": data.digest,
        "protocol": dataclasses.asdict(protocol),
    }
    file = out / BASELINE
    with contextlib.suppress(OSError, ValueError, AttributeError):
        if {**json.loads(file.read_text(encoding="utf-8")), "results": None} == {**about, "results": None}:
            return
    quick = protocol if protocol.linear != "paper" else dataclasses.replace(protocol, linear="off")
    cli.remark("measuring the same network with random weights")
    measure = Measure(data, quick, pick_device(place.device), place.cache, place.workers)
    write_json(file, {**about, "results": measure(random_backbone(config), config)})


def gpu_groups(device: str, gpus_per_run: int) -> list[list[str]]:
    """Divide the GPUs among simultaneous runs.

    Args:
        device: Name of the device.
        gpus_per_run: GPUs of each run.

    Returns:
        The GPUs of each run, as names for ``CUDA_VISIBLE_DEVICES``.

    Raises:
        UserError: A run needs more GPUs than there are.
    """
    count = torch.cuda.device_count() if device in ("auto", "cuda") else 0
    if gpus_per_run > max(1, count):
        raise UserError(f"--gpus-per-run {gpus_per_run}: {count} GPUs are here")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = [name.strip() for name in visible.split(",") if name.strip()] or [str(number) for number in range(count)]
    names = names[:count]
    return [names[start : start + gpus_per_run] for start in range(0, count - gpus_per_run + 1, gpus_per_run)]


def _run_in_processes(
    todo: Sequence[Job],
    data: Data,
    protocol: Protocol,
    place: Place,
    groups: Sequence[Sequence[str]],
    on_measured: Callable[[], object],
) -> bool:
    free: SimpleQueue[Sequence[str]] = SimpleQueue()
    for group in groups:
        free.put(group)
    running: set[subprocess.Popen] = set()
    halt = threading.Event()  # when set, no further job is started
    cli.remark(f"{len(todo)} runs, {len(groups)} at a time")

    def work(job: Job) -> int:
        if halt.is_set():
            return cli.CTRL_C
        group = free.get()
        try:
            with tempfile.TemporaryDirectory() as folder:
                order = Path(folder) / "job.json"
                write_json(order, _order(job, data, protocol, place))
                environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ",".join(group)}
                with subprocess.Popen(_command(order, len(group)), env=environment, start_new_session=True) as process:
                    running.add(process)
                    try:
                        return process.wait()
                    finally:
                        running.discard(process)
        finally:
            free.put(group)

    with stop_signals(insist=False) as stopped, ThreadPoolExecutor(len(groups)) as pool:
        pending = {pool.submit(work, job) for job in todo}
        failed = 0
        while pending:
            done, pending = wait(pending, timeout=WATCH_SECONDS, return_when=FIRST_COMPLETED)
            for future in done:
                failed += future.result() not in (cli.DONE, cli.CTRL_C)
                on_measured()
            if stopped.is_set() and not halt.is_set():
                halt.set()
                for process in list(running):
                    process.terminate()  # each writes its checkpoint first
    if failed:
        raise UserError(f"{failed} of {len(todo)} runs ended with an error, see above; the others are kept")
    return not halt.is_set()


def _command(order: Path, processes: int) -> list[str]:
    module = ["-m", "simsiam_retrieval.reproduction.worker", str(order)]
    if processes == 1:
        return [sys.executable, *module]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return [sys.executable, *launcher, *module]


def _order(job: Job, data: Data, protocol: Protocol, place: Place) -> dict:
    return {
        "folder": str(job.folder),
        "config": dataclasses.asdict(job.config),
        "train": str(data.train.given),
        "test": str(data.test.given),
        "protocol": dataclasses.asdict(protocol),
        "place": {**dataclasses.asdict(place), "cache": str(place.cache)},
    }
