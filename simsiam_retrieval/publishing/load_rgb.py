"""A function that reads an image file as an encoder needs it. People copy it; it needs only numpy and Pillow."""

# docs/onnx.md and model cards show these imports together with the function
import io

import numpy as np
from PIL import Image, ImageCms, ImageOps


def load_rgb(path):
    """Read an image file as upright 8-bit sRGB pixels, uint8 (height, width, 3), with transparency over white."""
    with Image.open(path) as opened:
        profile = opened.info.get("icc_profile")
        image, alpha = ImageOps.exif_transpose(opened), None
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        grey = np.asarray(image, np.float32)
        sixteen = image.mode.startswith("I;16") or (image.mode == "I" and 255 < grey.max() < 65536)
        low, span = (0, 65535) if sixteen else (grey.min(), np.ptp(grey) or 1)
        image = Image.fromarray(((grey - low) * (255 / span)).round().astype(np.uint8))
    elif image.has_transparency_data:
        alpha = image.convert("RGBA").getchannel("A")
        image = image.convert("RGBA").convert("RGB")
    elif image.mode == "P":
        image = image.convert("RGB")
    if profile and image.mode in ("RGB", "L", "CMYK"):
        source, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
        image = ImageCms.profileToProfile(image, source, srgb, outputMode="RGB") or image
    rgb = image.convert("RGB")
    if alpha is not None:
        rgb = Image.composite(rgb, Image.new("RGB", rgb.size, "white"), alpha)
    return np.asarray(rgb)
