"""COCO's average precision, by pycocotools."""

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
    """What a detector finds on one image."""

    boxes: NDArray[np.float32]  # (n, 4): left, top, right, bottom in the image's pixels
    labels: NDArray[np.int64]  # (n,), 1 is the first class
    scores: NDArray[np.float32]  # (n,)
    masks: list[Any] | None = None  # n of COCO's compressed run lengths


def average_precision(
    part: DetectionSet, found: Sequence[Detections], *, masks: bool = False
) -> dict[str, dict[str, Any]]:
    """COCO's metrics of ``found``, one for each picture of ``part``; of boxes under "box", with ``masks`` of masks
    under "mask".

    AP is the mean over the thresholds of overlap .50, .55, … .95 and over the classes with objects; AP50 and AP75 are
    those at one threshold, APs, APm and APl those of objects below 32², up to 96² and above, in square pixels of the
    stored image; "classes" has each class's AP. All in [0, 1]; None where there is nothing to measure.

    What falls on a difficult object is neither right nor wrong, nor is it to miss one.
    """
    images, truth, detected = _as_coco(part, found, masks)
    categories = [{"id": number, "name": name} for number, name in enumerate(part.classes, 1)]
    result = {}
    # it prints its progress to stdout, where results go
    with contextlib.redirect_stdout(io.StringIO()):
        sides = [_coco(images, categories, rows) for rows in (truth, detected)]
        kinds: tuple[tuple[str, Any], ...] = (("box", "bbox"), ("mask", "segm"))
        for kind, overlap in kinds:
            if kind == "mask":
                if not masks:
                    continue
                for row in detected:  # small, medium or large by what is compared
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
    """pycocotools' evaluation, which forgets that an object is to be ignored unless it is a crowd."""

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
    """Images, objects and detections in pycocotools' terms; all ids begin with 1, as 0 means no match there."""
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
