"""From any mode of Pillow to upright 8-bit sRGB: orientation, transparency, colour profile, large images reduced."""

import io

from PIL import Image, ImageCms

from .decoded_image import Decoded
from .deep_grey import is_deep_grey, scale_grey
from .metadata import exif
from .plain_images import is_plain

STRIP_PIXELS = 4_000_000  # larger pictures are reduced in strips of this size, to avoid a second large copy
SKETCH = 1024  # side in pixels of the reduced copy from which the background is chosen

# EXIF orientation (tag 0x0112) -> the operation that makes the picture upright
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = (5, 6, 7, 8)


def reduction(image: Image.Image, short_side: int | None) -> int:
    """Choose the whole number by which a large image is reduced while it is converted.

    Args:
        image: The image.
        short_side: Pixels that its short side keeps at least; None for no reduction.

    Returns:
        The number, 1 for a small image.
    """
    if short_side is None or image.width * image.height <= STRIP_PIXELS:
        return 1
    return max(1, min(image.size) // short_side)


def as_decoded(
    image: Image.Image,
    width: int,
    height: int,
    file_format: str,
    short_side: int | None,
    orientation: int = 1,
    profile: bytes | None = None,
    *,
    keep_grey: bool = False,
) -> Decoded:
    """Reduce, convert and turn the image of another reader as images that Pillow opened.

    Args:
        image: Its pixels.
        width: Width of the whole picture as stored, in pixels.
        height: Height of the whole picture as stored, in pixels.
        file_format: See ``Decoded.format``.
        short_side: See ``decode.read_image``.
        orientation: EXIF orientation, 1 to 8.
        profile: ICC profile.
        keep_grey: Whether a grey image stays grey.

    Returns:
        The decoded file.
    """
    if profile:
        image.info["icc_profile"] = profile
    factor = reduction(image, short_side)
    if keep_grey:
        rgb = image if factor == 1 else image.reduce(factor)
    else:
        rgb = _to_rgb(image) if factor == 1 else _reduced_rgb(image, factor)
    turn = UPRIGHT.get(orientation)
    if orientation in SIDEWAYS:
        width, height = height, width
    return Decoded(rgb if turn is None else rgb.transpose(turn), width, height, file_format)


def to_upright_rgb(image: Image.Image, factor: int = 1) -> Image.Image:
    """Convert a Pillow image to 8-bit sRGB, upright by its EXIF orientation.

    Args:
        image: The image, of any mode.
        factor: Average each ``factor`` x ``factor`` pixels to one.

    Returns:
        RGB.
    """
    turn = UPRIGHT.get(exif(image).get(0x0112, 1))
    rgb = _to_rgb(image) if factor == 1 else _reduced_rgb(image, factor)
    upright = rgb if turn is None else rgb.transpose(turn)
    for key in ("exif", "xmp", "XML:com.adobe.xmp"):  # otherwise the next program would turn it again
        upright.info.pop(key, None)
    return upright


def _reduced_rgb(image: Image.Image, factor: int) -> Image.Image:
    """Convert to RGB and average each ``factor`` x ``factor`` pixels to one."""
    small = Image.new("RGB", (-(-image.width // factor), -(-image.height // factor)))
    background = _background(image)
    rows = max(1, STRIP_PIXELS // image.width // factor) * factor
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        small.paste(_to_rgb(strip, background).reduce(factor), (0, top // factor))
    return small


def _to_rgb(image: Image.Image, background: str | None = "") -> Image.Image:
    profile = image.info.get("icc_profile")
    alpha = None
    if is_deep_grey(image):
        image = scale_grey(image)
    if image.has_transparency_data:
        background = _background(image) if background == "" else background
        rgba = image.convert("RGBA")
        alpha, image = rgba.getchannel("A") if background else None, rgba.convert("RGB")
    elif image.mode == "P":
        image = image.convert("RGB")  # a profile applies to colours, not to palette indices
    if profile and image.mode in ("RGB", "L", "CMYK"):
        image = _to_srgb(image, profile)
    rgb = image.convert("RGB")
    if alpha is not None:
        below = Image.new("RGB", rgb.size, background or "white")
        below.paste(rgb, mask=alpha)
        return below
    return rgb


def _background(image: Image.Image) -> str | None:
    """Background for transparent pixels: white; black if nothing would show on white; None to ignore alpha."""
    if not image.has_transparency_data:
        return "white"
    if max(image.size) > SKETCH:  # a small copy is enough for this decision
        small = (max(1, min(SKETCH, image.width)), max(1, min(SKETCH, image.height)))
        image = image.resize(small, Image.Resampling.NEAREST)
    rgba = image.convert("RGBA")
    alpha = rgba.getchannel("A")
    low, high = alpha.getextrema()
    if high == 0:
        return None  # some programs leave the fourth byte of a pixel empty
    if low == high or not is_plain(_over(rgba, "white")) or is_plain(_over(rgba, "black")):
        return "white"
    return "black"


def _over(rgba: Image.Image, background: str) -> Image.Image:
    below = Image.new("RGB", rgba.size, background)
    below.paste(rgba.convert("RGB"), mask=rgba.getchannel("A"))
    return below


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    try:
        embedded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(embedded):
            return image
        converted = ImageCms.profileToProfile(image, embedded, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image  # broken profiles are common; the picture is used without it
    return converted if converted is not None else image
