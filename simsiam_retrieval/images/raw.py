"""Cameras' raw files, read by LibRaw (extra ``raw``): the embedded preview, otherwise the picture at half size."""

import importlib.util
import io
from datetime import datetime
from typing import Any, NamedTuple

from PIL import Image

from .decoded_image import Decoded
from .image_error import ImageError
from .pillow_files import decode_opened
from .size_limits import check_size
from .upright_rgb import as_decoded

EXTRA = "pip install 'simsiam-retrieval[raw]'"


def version() -> str | None:
    """Return the version of rawpy.

    Returns:
        The version; None if it is not installed.
    """
    if importlib.util.find_spec("rawpy") is None:
        return None
    from importlib import metadata  # late: every worker process imports this module

    return metadata.version("rawpy")


def is_raw(head: bytes) -> bool:
    """Return whether a file has a camera's own raw format.

    Raw files that are TIFFs are recognised by their tags instead.

    Args:
        head: First bytes of the file.

    Returns:
        True for a raw file.
    """
    return (
        head[:15] == b"FUJIFILMCCD-RAW"
        or head[:4] in (b"IIU\0", b"IIRO", b"IIRS", b"MMOR")
        or head[4:12] == b"ftypcrx "
        or (head[:4] == b"II*\0" and head[8:10] == b"CR")
        or head[6:14] == b"HEAPCCDR"
        or head[:4] in (b"\0MRM", b"FOVb")
    )


class Preview(NamedTuple):
    """What is read of a raw file.

    Attributes:
        picture: Bytes of the embedded JPEG, in which LibRaw notes how it is to be turned, or an RGB image at half size.
        width: Full width in pixels, upright.
        height: Full height in pixels, upright.
        taken: When it was taken, by the camera's clock, if it says so.
    """

    picture: bytes | Image.Image
    width: int
    height: int
    taken: datetime | None


def decode_raw(content: bytes, short_side: int | None) -> Decoded:
    """Decode a raw file: its preview, or the picture at half size.

    Args:
        content: The file.
        short_side: See ``decode.read_image``.

    Returns:
        The decoded file.

    Raises:
        ImageError: The file cannot be decoded.
    """
    picture, width, height, taken = preview(content)
    if isinstance(picture, bytes):
        with Image.open(io.BytesIO(picture), formats=("JPEG",)) as image:
            decoded = decode_opened(image, short_side, picture[:32])
            return decoded._replace(format="RAW", width=width, height=height, taken=decoded.taken or taken)
    return as_decoded(picture, width, height, "RAW", short_side)._replace(taken=taken)


def preview(content: bytes) -> Preview:
    """Read the preview of a raw file.

    Args:
        content: The file.

    Returns:
        The preview, or the picture at half size.

    Raises:
        ImageError: The file cannot be decoded.
    """
    if version() is None:
        raise ImageError(f"a camera's raw file: {EXTRA}", lasting=False)
    import rawpy

    try:
        with rawpy.imread(io.BytesIO(content)) as file:
            check_size(int(file.sizes.raw_width), int(file.sizes.raw_height))
            width, height = int(file.sizes.width), int(file.sizes.height)
            if file.sizes.flip in (5, 6):  # a quarter of a turn
                width, height = height, width
            taken = _taken(file)
            try:
                embedded = file.extract_thumb()
            except (rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError):
                embedded = None
            if embedded is not None and embedded.format == rawpy.ThumbFormat.JPEG:
                content = bytes(embedded.data)
                with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
                    if max(image.size) >= 320:  # smaller previews are only for the camera's list of files
                        return Preview(content, width, height, taken)
            half = Image.fromarray(file.postprocess(half_size=True, use_camera_wb=True))
            return Preview(half, width, height, taken)
    except rawpy.LibRawError as error:
        text = error.args[0] if error.args else ""
        text = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
        raise ImageError(f"damaged: LibRaw says {' '.join(text.split())[:100]}") from None


def _taken(file: Any) -> datetime | None:
    """The time; before version 0.27, rawpy does not give it, and LibRaw gives 1970 if there is none."""
    found = getattr(getattr(file, "other", None), "timestamp", None)
    return found.replace(tzinfo=None) if isinstance(found, datetime) and found.year > 1970 else None
