"""The chosen image in large: its file where that is still the one that was indexed, else the thumbnail."""

import io

from PIL import Image

from simsiam_retrieval.collection import Item
from simsiam_retrieval.images.apart import read_image_apart
from simsiam_retrieval.images.decode import FORMATS, ImageError
from simsiam_retrieval.images.page_paths import file_and_page
from simsiam_retrieval.images.reading import AS_THEY_ARE, Reading

SIDE = 1280  # pixels, longer side: sharp at 640 on a dense screen
UPLOAD_PIXELS = 64_000_000  # of an upload that is no JPEG: 200 MB while it is decoded
SLOW_PIXELS = 40_000_000  # JPEGs are decoded at reduced size; other formats this large take seconds


def item_picture(
    item: Item, thumbnail: bytes | None, reading: Reading = AS_THEY_ARE, side: int = SIDE
) -> tuple[bytes | None, str]:
    """Return a large picture of an image of a collection.

    Args:
        item: The image.
        thumbnail: Its thumbnail, which is shown if the file is gone.
        reading: How files of the collection become pixels.
        side: Largest longer side in pixels.

    Returns:
        JPEG, and a remark if it is not the file that is shown.
    """
    try:
        status = file_and_page(item.path)[0].stat()
    except OSError:
        return thumbnail, "The file is gone or cannot be reached; this is the preview made when it was indexed."
    if (status.st_size, status.st_mtime_ns) != (item.size, item.mtime_ns):
        return thumbnail, "The file has changed since it was indexed; this is its preview from then."
    if item.width * item.height > SLOW_PIXELS and item.format not in ("JPEG", "MPO"):
        return thumbnail, "The file is very large; this is its preview."
    try:
        return as_jpeg(read_image_apart(item.path, side // 2, reading).image, side), ""
    except ImageError as error:
        return thumbnail, f"The file cannot be shown ({error}); this is the preview made when it was indexed."


def uploaded_picture(content: bytes, reading: Reading = AS_THEY_ARE) -> tuple[bytes, str, tuple[int, int]]:
    """Return a large picture of an uploaded photo.

    Args:
        content: The uploaded file.
        reading: How files of the collection become pixels.

    Returns:
        JPEG, the photo's size in pixels as text, and the same as width and height.

    Raises:
        ImageError: It cannot be decoded, or would take too much memory.
    """
    check_upload(content)
    decoded = read_image_apart(content, SIDE // 2, reading)
    return as_jpeg(decoded.image), f"{decoded.width} × {decoded.height} px", (decoded.width, decoded.height)


def check_upload(content: bytes) -> None:
    """Refuse an upload with more pixels than a visitor may make the server hold.

    JPEGs are decoded at reduced size, so the decoder's own limit is enough for them.

    Args:
        content: The uploaded file.

    Raises:
        ImageError: It is too large.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            pixels, kind = image.width * image.height, image.format
    except Exception:  # noqa: BLE001 -- of a damaged file nearly anything; the decoder says what is the matter
        return
    if pixels > UPLOAD_PIXELS and kind not in ("JPEG", "MPO"):
        raise ImageError(
            f"{pixels / 1e6:.0f} million pixels; at most {UPLOAD_PIXELS / 1e6:.0f} million can be uploaded"
        )


def as_jpeg(image: Image.Image, side: int = SIDE) -> bytes:
    """Encode an image, reduced if it is large.

    Args:
        image: RGB.
        side: Largest longer side in pixels.

    Returns:
        JPEG.
    """
    image.thumbnail((side, side), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
