"""Batches of images and targets in the form of torchvision's detectors, decoded in advance by threads."""

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

AHEAD = 2  # batches that are decoded in advance


class Sample(NamedTuple):
    """One image and its objects.

    Attributes:
        image: float32 (3, h, w) in [0, 1].
        target: boxes float32 (n, 4), labels int64 (n,), optionally masks uint8 (n, h, w).
    """

    image: Tensor
    target: dict[str, Tensor]


def load_sample(picture: Picture, *, flip: bool = False, masks: bool = False) -> Sample:
    """Decode an image and collect its objects, without crowds.

    Args:
        picture: The image.
        flip: Whether to mirror both from left to right.
        masks: Whether to include masks.

    Returns:
        The sample.
    """
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
    """Choose the images of a step, and which of them are mirrored. Depends only on the arguments.

    Epochs follow each other without a gap; each is a random order of all images.

    Args:
        count: Number of images.
        batch_size: Images per step.
        seed: Seed.
        step: The step.

    Returns:
        Number of the image, and whether it is mirrored.
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
    """Decode the samples of each step.

    Args:
        source: The images.
        steps: From ``draws``, for each step.
        masks: Whether to include masks.
        workers: Number of threads; 0 decodes in this thread.

    Yields:
        The samples of each step.
    """

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
