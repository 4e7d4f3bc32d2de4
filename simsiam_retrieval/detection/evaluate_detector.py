"""Running a trained detector on the images of a part, and measuring its average precision."""

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

MASK_THRESHOLD = 0.5  # probability from which a pixel belongs to a mask


def measure(
    detector: GeneralizedRCNN,
    part: DetectionSet,
    machine: Machine,
    *,
    masks: bool = False,
    on_progress: Callable[[], None] = lambda: None,
) -> dict[str, dict[str, Any]]:
    """Compute COCO's metrics on all images of a part, one image at a time, at the test size.

    Args:
        detector: The detector.
        part: The images and their objects.
        machine: The device and its options.
        masks: Whether to measure masks, too.
        on_progress: Called after each image.

    Returns:
        See ``average_precision``.

    Raises:
        Interrupted: ``machine.stopped`` is set.
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
    """Run a detector on each image of a part.

    Args:
        detector: The detector.
        part: The images.
        machine: The device and its options.
        masks: Whether to return masks, too.
        on_progress: Called after each image.

    Returns:
        The detections, in order.

    Raises:
        Interrupted: ``machine.stopped`` is set.
    """
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
