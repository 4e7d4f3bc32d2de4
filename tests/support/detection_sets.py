"""Small detection sets, drawn: squares and discs on noise, in VOC's layout and in COCO's."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from PIL import Image, ImageDraw

from simsiam_retrieval.detection.annotations import AnnotatedSet

Box = tuple[int, int, int, int]  # left, top, right, bottom; the last two lie outside
COLOURS = {"disc": (230, 60, 40), "square": (40, 90, 230)}


def draw(file: Path, objects: Sequence[tuple[str, Box]], seed: int, size: tuple[int, int] = (96, 64)) -> None:
    """A picture of dim noise with ``objects`` on it."""
    noise = np.random.default_rng(seed).integers(90, 150, (size[1], size[0], 3), np.uint8)
    image = Image.fromarray(noise)
    pencil = ImageDraw.Draw(image)
    for name, (left, top, right, bottom) in objects:
        shape = pencil.ellipse if name == "disc" else pencil.rectangle
        shape((left, top, right - 1, bottom - 1), fill=COLOURS[name])
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file, quality=92)


def scatter(seed: int, size: tuple[int, int] = (96, 64)) -> list[tuple[str, Box]]:
    """One or two objects that do not overlap."""
    random = np.random.default_rng(1000 + seed)
    objects: list[tuple[str, Box]] = []
    for _ in range(int(random.integers(1, 3))):
        side = int(random.integers(26, 42))
        left, top = (int(random.integers(0, whole - side)) for whole in size)
        box = (left, top, left + side, top + side)
        if all(_apart(box, other) for _, other in objects):
            objects.append((("disc", "square")[int(random.integers(2))], box))
    return objects


def _apart(one: Box, other: Box) -> bool:
    return one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


def voc_folder(folder: Path, counts: dict[str, int]) -> Path:
    """A set in VOC's layout with so many images in each split."""
    number = 0
    for split, count in counts.items():
        names = []
        for _ in range(count):
            name, objects = f"blobs{number:03}", scatter(number)
            draw(folder / "JPEGImages" / f"{name}.jpg", objects, number)
            write_xml(folder / "Annotations" / f"{name}.xml", [(kind, *box) for kind, box in objects])
            names.append(name)
            number += 1
        write_split(folder, split, names)
    return folder


def write_split(folder: Path, split: str, names: Sequence[str]) -> None:
    file = folder / "ImageSets" / "Main" / f"{split}.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{name}\n" for name in names))


def write_xml(
    file: Path,
    objects: Sequence[tuple[Any, ...]],
    size: tuple[int, int] = (96, 64),
    difficult: Sequence[int] = (),
) -> None:
    """VOC's XML for (name, left, top, right, bottom), which VOC counts from 1 and inclusive."""
    root = ElementTree.Element("annotation")
    stated = ElementTree.SubElement(root, "size")
    for side, value in zip(("width", "height"), size, strict=True):
        ElementTree.SubElement(stated, side).text = str(value)
    for index, (name, left, top, right, bottom) in enumerate(objects):
        entry = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(entry, "name").text = name
        ElementTree.SubElement(entry, "difficult").text = str(int(index in difficult))
        box = ElementTree.SubElement(entry, "bndbox")
        for side, value in (("xmin", left + 1), ("ymin", top + 1), ("xmax", right), ("ymax", bottom)):
            ElementTree.SubElement(box, side).text = str(value)
    file.parent.mkdir(parents=True, exist_ok=True)
    ElementTree.ElementTree(root).write(file)


def as_coco(parts: dict[str, AnnotatedSet], folder: Path, *, masks: bool = False) -> Path:
    """The same sets in COCO's layout: ``annotations/instances_SPLIT.json``, and the images copied to ``SPLIT/``.

    Category ids are neither dense nor in alphabetical order, as COCO's own.
    """
    names = sorted({found.name for part in parts.values() for image in part.images for found in image.objects})
    ids = {name: 90 - 7 * index for index, name in enumerate(names)}
    for split, part in parts.items():
        images, annotations = [], []
        for number, image in enumerate(part.images, 500):
            (folder / split).mkdir(parents=True, exist_ok=True)
            (folder / split / image.file.name).write_bytes(image.file.read_bytes())
            images.append({"id": number, "file_name": image.file.name, "width": image.width, "height": image.height})
            for found in image.objects:
                left, top, right, bottom = found.box
                annotation: dict[str, Any] = {
                    "id": len(annotations),
                    "image_id": number,
                    "category_id": ids[found.name],
                    "bbox": [left, top, right - left, bottom - top],
                    "area": (right - left) * (bottom - top),
                    "iscrowd": 0,
                    "ignore": int(found.difficult),
                }
                if masks:
                    annotation["segmentation"] = [[left, top, right, top, right, bottom, left, bottom]]
                annotations.append(annotation)
        content = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": ids[name], "name": name} for name in reversed(names)],
        }
        file = folder / "annotations" / f"instances_{split}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))
    return folder
