"""The part of a query picture that is searched for: boxes in pixels of the upright picture."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ...core.errors import UserError
from ...core.paths import absolute
from ...core.text import printable
from ...encoder.onnx_encoder import Encoder, ImageLike
from ...images.decode import Decoded, ImageError, read_image, upright_rgb
from ...images.reading import Reading

PixelBox = tuple[float, float, float, float]  # left, top, width, height


def picture_of(query: ImageLike, encoder: Encoder, reading: Reading) -> Decoded:
    """Decode a query picture in full resolution.

    Args:
        query: A path, encoded bytes, a Pillow image, a uint8 array, or a decoded file.
        encoder: The collection's encoder.
        reading: How files become pixels.

    Returns:
        The picture.

    Raises:
        UserError: It cannot be decoded.
    """
    if isinstance(query, Decoded):
        return query
    name = printable(str(query)) if isinstance(query, Path | str) else "the image"
    try:
        if isinstance(query, np.ndarray):
            if not encoder.reading.is_rgb:
                raise UserError("boxes in an array need an encoder of red, green and blue; name a file")
            query = Image.fromarray(query)
        if isinstance(query, Image.Image):
            image = upright_rgb(query)
            return Decoded(image, image.width, image.height, "")
        return read_image(query if isinstance(query, bytes) else absolute(query), None, reading)
    except ImageError as error:
        raise UserError(f"{name}: {error}") from None


def cut(picture: Decoded, boxes: Sequence[PixelBox]) -> list[Decoded]:
    """Cut boxes out of a picture.

    Args:
        picture: The picture.
        boxes: Left, top, width and height in pixels of the whole upright picture.

    Returns:
        A picture for each box.

    Raises:
        UserError: A box is not inside the picture.
    """
    parts = []
    across, down = picture.image.width / picture.width, picture.image.height / picture.height
    for box in boxes:
        left, top, width, height = box
        check_box(box, picture.width, picture.height)
        first = int(left * across), int(top * down)
        last = round((left + width) * across), round((top + height) * down)
        inner = (*first, max(first[0] + 1, last[0]), max(first[1] + 1, last[1]))
        image = picture.image.crop(inner)
        planes = None if picture.planes is None else picture.planes[inner[1] : inner[3], inner[0] : inner[2]]
        parts.append(picture._replace(image=image, width=image.width, height=image.height, planes=planes))
    return parts


def check_box(box: PixelBox, width: int, height: int) -> None:
    """Check that a box is inside a picture.

    Args:
        box: Left, top, width and height in pixels.
        width: Width of the picture in pixels.
        height: Height of the picture in pixels.

    Raises:
        UserError: It is not.
    """
    named = " ".join(f"{value:g}" for value in box)
    if not np.isfinite(box).all() or box[2] < 1 or box[3] < 1:
        raise UserError(f"--box {named}: give left, top, width and height in pixels; the last two are 1 or more")
    if box[0] < 0 or box[1] < 0 or box[0] + box[2] > width + 0.5 or box[1] + box[3] > height + 0.5:
        raise UserError(f"--box {named}: outside the picture, which has {width} x {height} pixels")
