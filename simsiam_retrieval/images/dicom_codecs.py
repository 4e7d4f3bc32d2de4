"""A decoder of 12-bit JPEG for pydicom, by imagecodecs: all other libraries with one that pydicom supports are GPL."""

import importlib.util
from typing import Any

from pydicom import uid

DECODER_DEPENDENCIES = {uid.JPEGExtended12Bit: ("numpy", "imagecodecs")}


def register() -> None:
    """Register the decoder with pydicom. Repeated calls do no harm."""
    from pydicom.pixels.decoders.base import get_decoder

    decoder = get_decoder(uid.JPEGExtended12Bit)
    if "imagecodecs" not in (*decoder.available_plugins, *decoder.missing_dependencies):
        try:
            decoder.add_plugin("imagecodecs", (__name__, "decode_frame"))
        except ValueError:  # already registered, but without its library
            return


def is_available(uid: str) -> bool:
    """Return whether imagecodecs is installed; pydicom calls this.

    Args:
        uid: Transfer syntax.

    Returns:
        True if it is.
    """
    return importlib.util.find_spec("imagecodecs") is not None


def decode_frame(src: bytes, runner: Any) -> bytes:
    """Decode one frame.

    Args:
        src: The encoded frame.
        runner: pydicom's runner.

    Returns:
        The samples, little-endian, colours interleaved.
    """
    import imagecodecs

    values = imagecodecs.jpeg_decode(src)
    if values.ndim == 3:
        runner.set_option("planar_configuration", 0)
    runner.set_option("bits_allocated", values.dtype.itemsize * 8)
    return values.astype(values.dtype.newbyteorder("<")).tobytes()
