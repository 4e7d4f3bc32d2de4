"""Cameras' raw files, read by LibRaw (extra ``raw``): the embedded preview, otherwise the picture at half size."""

import importlib.metadata
import importlib.util
import io

from PIL import Image

from .decoded_image import Decoded
from .image_error import ImageError
from .pillow_files import decode_opened
from .size_limits import check_size
from .to_rgb import as_decoded

EXTRA = "pip install 'simsiam-retrieval[raw]'"


def version() -> str | None:
    """Return the version of rawpy.

    Returns:
        The version; None if it is not installed.
    """
    return importlib.metadata.version("rawpy") if importlib.util.find_spec("rawpy") else None


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
    )


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
    shown, width, height = preview(content)
    if isinstance(shown, bytes):
        with Image.open(io.BytesIO(shown), formats=("JPEG",)) as image:
            decoded = decode_opened(image, short_side, shown[:32])
            return decoded._replace(format="RAW", width=width, height=height)
    return as_decoded(shown, width, height, "RAW", short_side)


def preview(content: bytes) -> tuple[bytes | Image.Image, int, int]:
    """Read the preview of a raw file.

    Args:
        content: The file.

    Returns:
        Bytes of the embedded JPEG, in which LibRaw notes how it is to be turned, or an RGB image at half size; and
        the full width and height, upright.

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
            try:
                embedded = file.extract_thumb()
            except (rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError):
                embedded = None
            if embedded is not None and embedded.format == rawpy.ThumbFormat.JPEG:
                content = bytes(embedded.data)
                with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
                    if max(image.size) >= 320:  # smaller previews are only for the camera's list of files
                        return content, width, height
            return Image.fromarray(file.postprocess(half_size=True, use_camera_wb=True)), width, height
    except rawpy.LibRawError as error:
        raise ImageError(f"damaged: LibRaw says {' '.join(str(error).split())[:100]}") from None
