"""A trained detector on the images of a part -> detections -> average precision."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN

from .annotations import DetectionSet
from .coco_metrics import Detections, average_precision
from .detection_batches import batches
from .finetune import Interrupted, Machine

MASK_THRESHOLD = 0.5  # of a pixel's probability


def measure(
    detector: GeneralizedRCNN,
    part: DetectionSet,
    machine: Machine,
    *,
    masks: bool = False,
    on_progress: Callable[[], None] = lambda: None,
) -> dict[str, dict[str, Any]]:
    """COCO's metrics of ``detector`` on all images of ``part``, as :func:`average_precision` names them.

    Images are looked at one by one, at the test size. Raises :class:`Interrupted` when ``machine.stopped`` is set.
    """
    found = detect(detector, part, machine, masks=masks, on_progress=on_progress)
    return average_precision(part, found, masks=masks)


@torch.inference_mode()
def detect(
    detector: GeneralizedRCNN,
    part: DetectionSet,
    machine: Machine,
    *,
    masks: bool = False,
    on_progress: Callable[[], None] = lambda: None,
) -> list[Detections]:
    """What ``detector`` finds on each image of ``part``, in order."""
    detector.eval()
    found = []
    steps = ([(index, False)] for index in range(len(part.pictures)))
    for (sample,) in batches(part, steps, masks=False, workers=machine.workers):
        _stop(machine.stopped)
        (output,) = detector([sample.image.to(machine.device)])
        found.append(
            Detections(
                boxes=output["boxes"].cpu().numpy(),
                labels=output["labels"].cpu().numpy(),
                scores=output["scores"].cpu().numpy(),
                masks=_run_lengths(output["masks"]) if masks else None,
            )
        )
        on_progress()
    return found


def _stop(stopped: threading.Event) -> None:
    if stopped.is_set():
        raise Interrupted


def _run_lengths(masks: Tensor) -> list[Any]:
    """(n, 1, h, w) probabilities -> COCO's compressed run lengths."""
    binary = (masks[:, 0] > MASK_THRESHOLD).to(torch.uint8).cpu().numpy()
    return [coco_mask.encode(np.asfortranarray(one)) for one in binary]
