"""Batches of images and targets as torchvision's detectors take them, decoded by threads a little ahead of the loop."""

from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..images.decode import decode
from ..training.data_split import generator
from .annotations import DetectionSet, Picture
from .segmentations import mask_of

AHEAD = 2  # batches


class Sample(NamedTuple):
    """One image and what is on it."""

    image: Tensor  # float32 (3, h, w) in [0, 1]
    target: dict[str, Tensor]  # boxes float32 (n, 4), labels int64 (n,), perhaps masks uint8 (n, h, w)


def load_sample(picture: Picture, *, flip: bool = False, masks: bool = False) -> Sample:
    """The decoded image with its objects, crowds left out; ``flip`` mirrors both from left to right."""
    image = torch.from_numpy(np.array(decode(picture.file))).permute(2, 0, 1).float().div_(255)
    trained = ~picture.crowd
    boxes = torch.from_numpy(picture.boxes[trained].copy())
    target = {"boxes": boxes, "labels": torch.from_numpy(picture.labels[trained])}
    if masks:
        found = [mask_of(picture, index) for index in np.flatnonzero(trained).tolist()]
        empty = np.zeros((0, picture.height, picture.width), np.uint8)
        target["masks"] = torch.from_numpy(np.stack(found) if found else empty)
    if flip:
        image = image.flip(2)
        target["boxes"] = torch.stack(
            [picture.width - boxes[:, 2], boxes[:, 1], picture.width - boxes[:, 0], boxes[:, 3]], 1
        )
        if masks:
            target["masks"] = target["masks"].flip(2)
    return Sample(image, target)


def draws(count: int, batch_size: int, seed: int, step: int) -> list[tuple[int, bool]]:
    """Which images step ``step`` sees, and whether mirrored: a function of the arguments alone.

    Epochs follow each other without a break: each is its own random order of all ``count`` images.
    """
    drawn, orders = [], {}
    for position in range(step * batch_size, (step + 1) * batch_size):
        epoch, place = divmod(position, count)
        if epoch not in orders:
            orders[epoch] = torch.randperm(count, generator=generator(seed, epoch, 10)).tolist()
        drawn.append(orders[epoch][place])
    flips = torch.rand(batch_size, generator=generator(seed, step, 11)) < 0.5
    return list(zip(drawn, flips.tolist(), strict=True))


def batches(
    source: DetectionSet, steps: Iterable[Sequence[tuple[int, bool]]], *, masks: bool, workers: int
) -> Generator[list[Sample], None, None]:
    """Yield the samples of each of ``steps``, decoded by ``workers`` threads; 0 decodes when asked."""

    def load(drawn: tuple[int, bool]) -> Sample:
        return load_sample(source.pictures[drawn[0]], flip=drawn[1], masks=masks)

    if workers == 0:
        yield from (list(map(load, step)) for step in steps)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[list[Future[Sample]]] = deque()
        try:
            for step in steps:
                waiting.append([pool.submit(load, drawn) for drawn in step])
                if len(waiting) > AHEAD:
                    yield [future.result() for future in waiting.popleft()]
            while waiting:
                yield [future.result() for future in waiting.popleft()]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
