"""COCO's segmentations: polygons and run lengths."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from ..core.errors import UserError
from ..core.text import printable
from .annotations import DetectionSet, Picture


def run_lengths(segmentation: Any, width: int, height: int) -> Any:
    """Convert a segmentation to COCO's compressed run lengths.

    Args:
        segmentation: Polygons, or run lengths in either form.
        width: Width of the image in pixels.
        height: Height of the image in pixels.

    Returns:
        {"size", "counts"}.

    Raises:
        ValueError: It is anything else.
    """
    try:
        if isinstance(segmentation, list):
            if not all(len(polygon) >= 6 and len(polygon) % 2 == 0 for polygon in segmentation):
                raise ValueError("a polygon needs three points or more")
            return coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
        if list(segmentation["size"]) != [height, width]:
            raise ValueError(f"run lengths of {segmentation['size']} for an image of {[height, width]}")
        if isinstance(segmentation["counts"], list):
            return coco_mask.frPyObjects(segmentation, height, width)
        return {"size": [height, width], "counts": segmentation["counts"]}
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"neither polygons nor run lengths ({error})") from None


def mask_of(picture: Picture, index: int) -> NDArray[np.uint8]:
    """Return the mask of an object.

    Args:
        picture: The image.
        index: Number of the object.

    Returns:
        uint8 (height, width), 1 inside.
    """
    return coco_mask.decode(run_lengths(picture.segmentations[index], picture.width, picture.height))


def check_segmentations(part: DetectionSet) -> None:
    """Check all segmentations of a part.

    Args:
        part: The part.

    Raises:
        UserError: A segmentation cannot be read; the message names the image.
    """
    for picture in part.pictures:
        for segmentation in picture.segmentations:
            try:
                run_lengths(segmentation, picture.width, picture.height)
            except ValueError as error:
                raise UserError(f"{printable(picture.file)}: an object's segmentation is damaged: {error}") from None
