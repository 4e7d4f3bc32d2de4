"""COCO's average precision, computed by pycocotools."""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from .annotations import DetectionSet
from .segmentations import run_lengths

KEYS = ("AP", "AP50", "AP75", "APs", "APm", "APl")


@dataclass
class Detections:
    """The n detections of a detector on one image.

    Attributes:
        boxes: (n, 4): left, top, right, bottom in the image's pixels.
        labels: (n,), 1 is the first class.
        scores: (n,).
        masks: n masks as COCO's compressed run lengths.
    """

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]
    masks: list[Any] | None = None


def average_precision(
    part: DetectionSet, found: Sequence[Detections], *, masks: bool = False
) -> dict[str, dict[str, Any]]:
    """Compute COCO's metrics.

    - AP: mean over the overlap thresholds .50, .55, … .95 and over the classes with objects.
    - AP50, AP75: at one threshold.
    - APs, APm, APl: of objects below 32², up to 96² and above, in square pixels of the stored image.
    - classes: AP of each class.

    Detections of difficult objects are ignored, and missing such an object is not an error.

    Args:
        part: The images and their objects.
        found: Detections on each image.
        masks: Whether to measure masks, too.

    Returns:
        Metrics of boxes under "box" and of masks under "mask". All are in [0, 1]; None if there is nothing to measure.
    """
    images, truth, detected = _as_coco(part, found, masks)
    categories = [{"id": number, "name": name} for number, name in enumerate(part.classes, 1)]
    result = {}
    # pycocotools prints its progress to stdout, which is for results
    with contextlib.redirect_stdout(io.StringIO()):
        sides = [_coco(images, categories, rows) for rows in (truth, detected)]
        kinds: tuple[tuple[str, Any], ...] = (("box", "bbox"), ("mask", "segm"))
        for kind, overlap in kinds:
            if kind == "mask":
                if not masks:
                    continue
                for row in detected:  # masks count as small, medium or large by their own area
                    row["area"] = float(coco_mask.area(row["segmentation"]))
            measured: Any = Evaluation(sides[0], sides[1], overlap)
            measured.evaluate()
            measured.accumulate()
            measured.summarize()
            precision = measured.eval["precision"][:, :, :, 0, -1]  # thresholds, recalls, classes
            classes = {name: _mean(precision[:, :, index]) for index, name in enumerate(part.classes)}
            stats = [None if value < 0 else float(value) for value in measured.stats[: len(KEYS)]]
            result[kind] = {**dict(zip(KEYS, stats, strict=True)), "classes": classes}
    return result


class Evaluation(COCOeval):
    """pycocotools' evaluation, corrected: the original ignores an object only if it is a crowd."""

    def _prepare(self) -> None:
        super()._prepare()  # type: ignore[misc]  -- not in its stubs
        truth: dict[Any, list[dict]] = self._gts  # type: ignore[attr-defined]
        for objects in truth.values():
            for one in objects:
                one["ignore"] = one["iscrowd"] or one["difficult"]


def _coco(images: list[dict], categories: list[dict], annotations: list[dict]) -> COCO:
    side: Any = COCO()
    side.dataset = {"images": images, "categories": categories, "annotations": annotations}
    side.createIndex()
    return side


def _as_coco(part: DetectionSet, found: Sequence[Detections], masks: bool) -> tuple[list[dict], list[dict], list[dict]]:
    """Images, objects and detections in pycocotools' form. All ids begin with 1, because 0 means "no match" there."""
    images, truth, detected = [], [], []
    for image, (picture, ours) in enumerate(zip(part.pictures, found, strict=True), 1):
        images.append({"id": image, "width": picture.width, "height": picture.height})
        for index in range(len(picture.boxes)):
            row: dict[str, Any] = {
                "id": len(truth) + 1,
                "image_id": image,
                "category_id": int(picture.labels[index]),
                "bbox": _corner_and_size(picture.boxes[index]),
                "area": float(picture.areas[index]),
                "iscrowd": int(picture.crowd[index]),
                "difficult": int(picture.difficult[index]),
            }
            if masks:
                row["segmentation"] = run_lengths(picture.segmentations[index], picture.width, picture.height)
            truth.append(row)
        for index in range(len(ours.boxes)):
            left, top, width, height = _corner_and_size(ours.boxes[index])
            row = {
                "id": len(detected) + 1,
                "image_id": image,
                "category_id": int(ours.labels[index]),
                "bbox": [left, top, width, height],
                "area": width * height,
                "score": float(ours.scores[index]),
                "iscrowd": 0,
            }
            if masks and ours.masks is not None:
                row["segmentation"] = ours.masks[index]
            detected.append(row)
    return images, truth, detected


def _corner_and_size(box: NDArray[np.float32]) -> list[float]:
    left, top, right, bottom = map(float, box)
    return [left, top, right - left, bottom - top]


def _mean(precision: NDArray[np.float64]) -> float | None:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else None
