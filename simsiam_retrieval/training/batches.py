"""Batches for the loop, prepared in advance so that the device never waits."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..core.randomness import generator
from . import augmentation
from .data_split import Plan
from .pixel_store import ImageStore
from .torchrun_processes import ALONE, Processes

AHEAD = 3  # batches that are prepared in advance
OF_FREE_GPU_MEMORY = 0.5  # largest fraction of free GPU memory for images; the network needs the rest
COPIED_AT_ONCE = 4096  # images per copy to a GPU


@dataclass(frozen=True)
class Batch:
    """This process's part of the batch of one step.

    Attributes:
        step: The step.
        pixels: uint8 (n, 3, s, s) on the device.
        views: Random parameters of each view, on the CPU.
        rows: int64 (n,), positions of the images in the store, on the CPU.
    """

    step: int
    pixels: Tensor
    views: list[augmentation.Parameters]
    rows: Tensor


class Batches:
    """All batches of a plan, in order.

    Images that fit into half of a GPU's free memory are kept there. Otherwise, for a GPU or for images in a file, a
    thread prepares batches in advance in pinned memory.

    Args:
        store: The images.
        plan: The steps of the run.
        settings: The augmentation of each view of an image.
        device: torch device.
        processes: The processes that train together.
    """

    def __init__(
        self,
        store: ImageStore,
        plan: Plan,
        settings: Sequence[augmentation.Augmentation],
        device: torch.device,
        *,
        processes: Processes = ALONE,
    ) -> None:
        self._plan, self._settings, self._device = plan, settings, device
        self._processes = processes
        self._store = store
        self._aspect = torch.from_numpy(store.aspect)
        self._resident: Tensor | None = None
        if device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            if store.pixels.nbytes < OF_FREE_GPU_MEMORY * free:
                self._resident = _on_gpu(store, device)

    def after(self, first: int) -> Iterator[Batch]:
        """Prepare batches.

        Args:
            first: The first step.

        Yields:
            The batches of all steps from ``first`` to the end of the plan.
        """
        steps = self._steps(first)
        if self._device.type == "cpu" and not self._store.in_file:
            for step, rows in steps:
                yield self._on_device(self._make(step, rows))
            return
        with ThreadPoolExecutor(1, "batches") as pool:
            waiting: list[Future[Batch]] = []
            try:
                for step, rows in steps:
                    waiting.append(pool.submit(self._make, step, rows))
                    if len(waiting) > AHEAD:
                        yield self._on_device(waiting.pop(0).result())
                while waiting:
                    yield self._on_device(waiting.pop(0).result())
            finally:
                pool.shutdown(cancel_futures=True)

    def _steps(self, first: int) -> Iterator[tuple[int, Tensor]]:
        size, order = self._plan.batch_size, None
        for step in range(first, self._plan.total_steps):
            epoch, position = divmod(step, self._plan.steps_per_epoch)
            if order is None or position == 0:
                order = self._plan.order(epoch)
            yield step, order[position * size : (position + 1) * size]

    def _make(self, step: int, rows: Tensor) -> Batch:
        # every process draws parameters for the whole batch, so the views do not depend on the number of processes
        part = self._processes.part(len(rows))
        views = []
        for view, settings in enumerate(self._settings, start=1):
            drawn = augmentation.draw(settings, self._aspect[rows], generator(self._plan.seed, step, view))
            views.append(augmentation.Parameters(*(tensor[part] for tensor in drawn)))
        rows = rows[part]
        if self._resident is not None:
            return Batch(step, rows, views, rows)
        pixels = torch.from_numpy(self._store.take(rows.numpy()))
        return Batch(step, pixels.pin_memory() if self._device.type == "cuda" else pixels, views, rows)

    def _on_device(self, made: Batch) -> Batch:
        moved = made.pixels.to(self._device, non_blocking=True)
        pixels = moved if self._resident is None else self._resident[moved]
        return Batch(made.step, pixels, made.views, made.rows)


def _on_gpu(store: ImageStore, device: torch.device) -> Tensor:
    n, side, _, channels = store.pixels.shape
    shape = (n, channels, side, side)
    images = torch.empty(shape, dtype=torch.uint8, device=device, memory_format=torch.channels_last)
    for part in np.array_split(np.arange(len(store)), -(-len(store) // COPIED_AT_ONCE)):
        images[int(part[0]) : int(part[-1]) + 1] = torch.from_numpy(store.take(part)).to(device)
    return images
