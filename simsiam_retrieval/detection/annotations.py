"""Annotated images: as their files describe them, and in the form for training and measuring."""

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

SMALLEST = 1.0  # smallest side of a box in pixels


@dataclass
class Annotation:
    """One object, as a file describes it.

    Attributes:
        name: Name of its class.
        box: Left, top, right, bottom in pixels, from the image's corner.
        difficult: Used for training, but ignored in a test (VOC).
        crowd: A region with many objects: not used for training; detections inside are ignored (COCO).
        area: Area in square pixels, if the file has it.
        segmentation: COCO's polygons or run lengths.
    """

    name: str
    box: tuple[float, float, float, float]
    difficult: bool = False
    crowd: bool = False
    area: float | None = None
    segmentation: Any = None


@dataclass
class Annotated:
    """One image, as a file describes it.

    Attributes:
        file: The image.
        source: The file with the annotation, for messages.
        width: Width in pixels, if the annotation has it.
        height: Height in pixels, if the annotation has it.
        objects: The objects.
    """

    file: Path
    source: Path
    width: int | None = None
    height: int | None = None
    objects: list[Annotation] = field(default_factory=list)


@dataclass
class AnnotatedSet:
    """One part (training, validation, test) of a data set.

    Attributes:
        title: Folder and part, as the user named them.
        layout: "voc" or "coco".
        images: The images.
    """

    title: str
    layout: str
    images: list[Annotated]


@dataclass
class Picture:
    """One image and its n objects, in pixels. Every box is inside the image and at least one pixel wide and high.

    Attributes:
        file: The image.
        width: Width in pixels.
        height: Height in pixels.
        boxes: (n, 4): left, top, right, bottom.
        labels: (n,): 1 is the first class, 0 the background.
        difficult: (n,).
        crowd: (n,).
        areas: (n,), in square pixels.
        segmentations: n segmentations of COCO, or None.
    """

    file: Path
    width: int
    height: int
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    difficult: NDArray[np.bool_]
    crowd: NDArray[np.bool_]
    areas: NDArray[np.float64]
    segmentations: list[Any]


@dataclass
class DetectionSet:
    """A part of a data set in the form for training and measuring."""

    title: str
    classes: tuple[str, ...]
    pictures: list[Picture]
    remarks: list[str] = field(default_factory=list)

    def fingerprint(self) -> str:
        """Hash the images (names, sizes) and all facts about their objects.

        Returns:
            16 hexadecimal digits.
        """
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
    """List the classes that have an object to train on.

    Args:
        parts: The training parts.

    Returns:
        Names in alphabetical order.

    Raises:
        UserError: There is none.
    """
    names = {found.name for part in parts for image in part.images for found in image.objects if not found.crowd}
    if not names:
        raise UserError(f"{parts[0].title}: no objects in it to train on; check the split and the annotations")
    return tuple(sorted(names))


def prepared(
    part: AnnotatedSet, sizes: Sequence[tuple[int, int]], classes: tuple[str, ...], *, masks: bool = False
) -> DetectionSet:
    """Clip boxes to their images, drop boxes without area, and number the classes.

    Args:
        part: The part.
        sizes: Width and height of each decoded image.
        classes: Names of the classes.
        masks: Whether every object must have a segmentation.

    Returns:
        The part for training and measuring.

    Raises:
        UserError: A class is not in ``classes``, a box is not made of numbers, a size differs from the annotation's, or
            a segmentation is missing.
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
    """Join several sets with the same classes.

    Args:
        sets: The sets.

    Returns:
        One set.
    """
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
