"""Annotated images as the files have them, and as training and measuring use them."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import UserError
from ..core.text import printable

SMALLEST = 1.0  # pixels: a box that is thinner is no object


@dataclass
class Annotation:
    """One object, as a file describes it."""

    name: str  # of its class
    box: tuple[float, float, float, float]  # left, top, right, bottom in pixels, from the image's corner
    difficult: bool = False  # trained on, and neither right nor wrong in a test (VOC)
    crowd: bool = False  # a region with many objects: not trained on, and detections inside are not counted (COCO)
    area: float | None = None  # in square pixels, where the file says so
    segmentation: Any = None  # COCO's polygons or run lengths


@dataclass
class Annotated:
    """One image, as a file describes it."""

    file: Path
    source: Path  # of the annotation, for complaints
    width: int | None = None  # pixels, where the file says so
    height: int | None = None
    objects: list[Annotation] = field(default_factory=list)


@dataclass
class AnnotatedSet:
    """One part (training, validation, test) of a data set."""

    title: str  # folder and part, as the user knows them
    layout: str  # "voc" or "coco"
    images: list[Annotated]


@dataclass
class Picture:
    """One image and its objects, in pixels; every box lies inside and is at least a pixel wide and high."""

    file: Path
    width: int
    height: int
    boxes: NDArray[np.float32]  # (n, 4): left, top, right, bottom
    labels: NDArray[np.int64]  # (n,): 1 is the first class, 0 the background
    difficult: NDArray[np.bool_]  # (n,)
    crowd: NDArray[np.bool_]  # (n,)
    areas: NDArray[np.float64]  # (n,)
    segmentations: list[Any]  # n of COCO's, or None


@dataclass
class DetectionSet:
    """A part of a data set, ready for use."""

    title: str
    classes: tuple[str, ...]
    pictures: list[Picture]
    remarks: list[str] = field(default_factory=list)

    def fingerprint(self) -> str:
        """A short hash of the images (names, sizes) and all that is said of their objects."""
        digest = hashlib.sha256("\0".join(self.classes).encode("utf-8", "surrogateescape"))
        for picture in self.pictures:
            head = f"{picture.file.name}\0{picture.file.stat().st_size}\0{picture.width}x{picture.height}"
            digest.update(head.encode("utf-8", "surrogateescape"))
            for part in (picture.boxes, picture.labels, picture.difficult, picture.crowd):
                digest.update(part.tobytes())
            if any(one is not None for one in picture.segmentations):
                digest.update(json.dumps(picture.segmentations, default=repr).encode())
        return digest.hexdigest()[:16]


def classes_of(parts: Sequence[AnnotatedSet]) -> tuple[str, ...]:
    """Classes with an object in ``parts`` that can be trained on, in alphabetical order.

    Raises :class:`UserError` where there is none.
    """
    names = {found.name for part in parts for image in part.images for found in image.objects if not found.crowd}
    if not names:
        raise UserError(f"{parts[0].title}: no objects in it to train on; check the split and the annotations")
    return tuple(sorted(names))


def prepared(
    part: AnnotatedSet, sizes: Sequence[tuple[int, int]], classes: tuple[str, ...], *, masks: bool = False
) -> DetectionSet:
    """Clip boxes to their images, leave out those without area, number the classes.

    ``sizes``: width and height of each image, as decoded. ``masks``: every object must have a segmentation.

    Raises :class:`UserError` for a class that is not in ``classes``, numbers that are none, a size that differs from
    the annotation's, and, with ``masks``, an object without a segmentation.
    """
    pictures, counts = [], Counter[str]()
    for image, (width, height) in zip(part.images, sizes, strict=True):
        _check_size(image, width, height)
        kept: list[tuple[Annotation, tuple[float, ...]]] = []
        for found in image.objects:
            if found.name not in classes:
                known = ", ".join(classes[:5]) + (", …" if len(classes) > 5 else "")
                raise UserError(
                    f"{printable(image.source)}: class {printable(found.name)} is not among those with objects to "
                    f"train on ({printable(known)}); mend the name, or the split"
                )
            box = _clipped(image, found, width, height)
            if box is None:
                counts["left out: no area inside the image"] += 1
                continue
            if box != found.box:
                counts["cut at the image's border"] += 1
            if masks and not found.segmentation:
                raise UserError(
                    f"{printable(image.source)}: an object of {printable(image.file.name)} has no segmentation; "
                    "leave out --masks, or mend the file"
                )
            kept.append((found, box))
        pictures.append(_picture(image, width, height, kept, classes))
    remarks = [f"{part.title}: {count} of the boxes {what}" for what, count in counts.items()]
    empty = sum(not len(picture.boxes) for picture in pictures)
    if empty:
        remarks.append(f"{part.title}: {empty} images without objects; they count as background")
    return DetectionSet(part.title, classes, pictures, remarks)


def joined(sets: Sequence[DetectionSet]) -> DetectionSet:
    """Several sets of the same classes as one."""
    title = " + ".join(part.title for part in sets)
    pictures = [picture for part in sets for picture in part.pictures]
    return DetectionSet(title, sets[0].classes, pictures, [remark for part in sets for remark in part.remarks])


def _check_size(image: Annotated, width: int, height: int) -> None:
    said = (image.width or width, image.height or height)
    if said != (width, height):
        turned = " (turned by EXIF?)" if said == (height, width) else ""
        raise UserError(
            f"{printable(image.file)}: is {width} x {height} pixels, its annotation says {said[0]} x {said[1]}{turned};"
            " the boxes would not fit: mend the annotation or the image"
        )


def _clipped(image: Annotated, found: Annotation, width: int, height: int) -> tuple[float, ...] | None:
    if not all(map(math.isfinite, found.box)):
        raise UserError(f"{printable(image.source)}: a box of {printable(image.file.name)} is not made of numbers")
    left, top, right, bottom = found.box
    box = (max(0.0, left), max(0.0, top), min(float(width), right), min(float(height), bottom))
    return box if box[2] - box[0] >= SMALLEST and box[3] - box[1] >= SMALLEST else None


def _picture(
    image: Annotated,
    width: int,
    height: int,
    kept: list[tuple[Annotation, tuple[float, ...]]],
    classes: tuple[str, ...],
) -> Picture:
    number = {name: index for index, name in enumerate(classes, 1)}
    boxes = np.array([box for _, box in kept], np.float32).reshape(-1, 4)
    sides = boxes.astype(np.float64)
    whole = (sides[:, 2] - sides[:, 0]) * (sides[:, 3] - sides[:, 1])
    said = [whole[index] if found.area is None else found.area for index, (found, _) in enumerate(kept)]
    return Picture(
        file=image.file,
        width=width,
        height=height,
        boxes=boxes,
        labels=np.array([number[found.name] for found, _ in kept], np.int64),
        difficult=np.array([found.difficult for found, _ in kept], np.bool_),
        crowd=np.array([found.crowd for found, _ in kept], np.bool_),
        areas=np.array(said, np.float64),
        segmentations=[found.segmentation for found, _ in kept],
    )
