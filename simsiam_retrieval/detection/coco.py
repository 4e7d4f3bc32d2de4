"""Data sets in COCO's layout: images, and one JSON file of instances for each part."""

import json
from pathlib import Path, PurePosixPath
from typing import Any

from ..core.errors import UserError
from ..core.text import printable
from .annotations import Annotated, AnnotatedSet, Annotation

PATTERNS = (
    "annotations/instances_{split}.json",
    "annotations/instances_{split}20*.json",  # instances_train2017.json
    "annotations/{split}.json",
    "{split}/_annotations.coco.json",
    "instances_{split}.json",
    "{split}.json",
)


def find_instances(folder: Path, split: str) -> Path | None:
    """Find the file of instances of a part.

    Args:
        folder: Folder of the data set.
        split: Name of the part.

    Returns:
        The file, or None.

    Raises:
        UserError: Several files match.
    """
    for pattern in PATTERNS:
        found = sorted(folder.glob(pattern.format(split=split)))
        if len(found) > 1:
            named = ", ".join(file.stem.removeprefix("instances_") for file in found)
            raise UserError(f"{printable(folder)}: several parts named {split}: {printable(named)}; name one of them")
        if found:
            return found[0]
    return None


def splits(folder: Path) -> list[str]:
    """List the parts that have a file of instances.

    Args:
        folder: Folder of the data set.

    Returns:
        Names, sorted.
    """
    names = {file.stem.removeprefix("instances_") for file in (folder / "annotations").glob("*.json")}
    names |= {file.parent.name for file in folder.glob("*/_annotations.coco.json")}
    names |= {file.stem.removeprefix("instances_") for file in folder.glob("*.json")}
    return sorted(names)


def read_coco(folder: Path, split: str) -> AnnotatedSet:
    """Read the images of a part, in the file's order, and their objects.

    Boxes in the file are [left, top, width, height] from the image's corner. ``iscrowd`` marks a crowd. ``ignore`` and
    ``difficult``, which converted sets have, mark an object that a test ignores.

    Args:
        folder: Folder of the data set.
        split: Name of the part.

    Returns:
        The part.

    Raises:
        UserError: A file is missing or damaged; the message names it.
    """
    file = find_instances(folder, split)
    if file is None:
        found = ", ".join(splits(folder)[:10]) or "none"
        raise UserError(f"{printable(folder)}: no instances of {split} in it; there are: {printable(found)}")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"{printable(file)}: damaged, not JSON") from None
    try:
        names = _categories(content["categories"])
        images = {entry["id"]: _image(folder, split, file, entry) for entry in content["images"]}
        if len(images) < len(content["images"]):
            raise ValueError("two images with the same id")
        for entry in content["annotations"]:
            if entry["image_id"] not in images or entry["category_id"] not in names:
                raise ValueError(
                    f"an annotation of image {entry['image_id']}, category {entry['category_id']}: not both are there"
                )
            images[entry["image_id"]].objects.append(_object(entry, names))
    except KeyError as error:
        raise UserError(f"{printable(file)}: {_missing(error.args[0])}") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{printable(file)}: not a file of instances ({printable(str(error))})") from None
    if not images:
        raise UserError(f"{printable(file)}: names no images")
    return AnnotatedSet(f"{folder} ({split})", "coco", list(images.values()))


def _missing(key: Any) -> str:
    top = key in ("categories", "images", "annotations")
    return f"not a file of instances (it lacks {key})" if top else f"an entry lacks its {key}"


def _categories(entries: Any) -> dict[int, str]:
    names = {entry["id"]: str(entry["name"]) for entry in entries}
    if len(set(names.values())) < len(entries):
        raise ValueError("two categories with the same name or id")
    return names


def _image(folder: Path, split: str, file: Path, entry: dict[str, Any]) -> Annotated:
    name = str(entry["file_name"])
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise ValueError(f"the image {name} lies outside the folder")
    part = file.stem.removeprefix("instances_")
    places = [folder / part, folder / "images" / part, folder / "images", folder, file.parent, folder / split]
    found = next((place / name for place in places if (place / name).is_file()), None)
    if found is None:
        raise UserError(f"{printable(file)}: no image {printable(name)} in {printable(folder)}")
    width, height = entry.get("width"), entry.get("height")
    return Annotated(found, file, int(width) if width else None, int(height) if height else None)


def _object(entry: dict[str, Any], names: dict[int, str]) -> Annotation:
    left, top, width, height = map(float, entry["bbox"])
    area = entry.get("area")
    return Annotation(
        name=names[entry["category_id"]],
        box=(left, top, left + width, top + height),
        difficult=bool(entry.get("ignore") or entry.get("difficult")),
        crowd=bool(entry.get("iscrowd")),
        area=None if area is None else float(area),
        segmentation=entry.get("segmentation"),
    )
