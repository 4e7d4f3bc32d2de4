"""DICOM files, read by pydicom (extra ``medical``). Only pixels leave this module, no data about patients."""

import functools
import importlib.util
import io
import logging
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..core.memory import free_memory
from .dicom_names import HEAD, is_dicom
from .image_error import ImageError
from .page_paths import FIRST_FRAME, MOST_PAGES
from .ranges import to_eight_bits
from .reading import AUTO, Range
from .size_limits import check_size

EXTRA = "pip install 'simsiam-retrieval[medical]'"


def version() -> str | None:
    """Return the version of pydicom.

    Returns:
        The version; None if it is not installed.
    """
    if importlib.util.find_spec("pydicom") is None:
        return None
    from importlib import metadata  # late: every worker process imports this module

    return metadata.version("pydicom")


def read(content: bytes, wanted: Range = AUTO, page: int = 1) -> tuple[Image.Image, int, int, int]:
    """Read the picture of a DICOM file; of several frames the middle one, or that which is asked for.

    pydicom applies the modality's rescale, the first window or VOI table, and MONOCHROME1. Without a window, the values
    are scaled by the range that is used.

    Args:
        content: The file.
        wanted: A range of the values after rescale, in place of windows; colours and plain 8-bit greys ignore it.
        page: 1 for the middle frame, otherwise the number of a frame; ``page_paths.FIRST_FRAME`` for the first.

    Returns:
        The picture in mode L, LA or RGB, its width, its height, and the number of frames.

    Raises:
        ImageError: The file cannot be decoded.
    """
    if version() is None:
        raise ImageError(f"a DICOM file: {EXTRA}", lasting=False)
    import pydicom
    from pydicom.errors import InvalidDicomError

    _prepare()
    try:
        data = pydicom.dcmread(io.BytesIO(content), force=True)
        _name_syntax(data)
        if "PixelData" not in data and "FloatPixelData" not in data and "DoubleFloatPixelData" not in data:
            raise ImageError("a DICOM file without a picture")
        width, height = int(data.Columns), int(data.Rows)
        frames = _frames(data)
        if page > frames:
            raise ImageError(f"has no page {page}")
        samples, bits = int(data.get("SamplesPerPixel", 1)), int(data.get("BitsAllocated", 16))
    except ImageError:
        raise
    except (InvalidDicomError, Exception) as error:  # noqa: BLE001  # its parser can raise almost any exception
        raise ImageError(f"damaged: {_kind(error)}") from None
    check_size(width, height)
    needed = width * height * samples * (max(8, bits) // 8) + width * height * 24
    if needed > 100_000_000 and needed > free_memory():
        raise ImageError(f"too large: {width} x {height} takes {needed / 1e9:.1f} GB of memory", lasting=False)
    try:
        frame = frames // 2 if page == 1 else max(0, page - 1)
        return _shown(data, frame if frames > 1 else 0, wanted), width, height, frames
    except ImageError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001
        if _lacks_decoder(data):
            raise ImageError(f"a compressed DICOM file: {EXTRA}", lasting=False) from None
        if isinstance(error, RuntimeError):  # all its decoders failed; other versions may read it
            name = str(data.file_meta.TransferSyntaxUID.name)
            raise ImageError(f"not decoded by pydicom and its plugins: {name}", lasting=False) from None
        # pydicom's messages may quote values of the file
        raise ImageError(f"damaged: {_kind(error)}") from None


def _name_syntax(data: Any) -> None:
    """Name the transfer syntax that pydicom has found by itself in a file that does not name one."""
    from pydicom import uid

    if "TransferSyntaxUID" in data.file_meta:
        return
    implicit, little = data.original_encoding
    if implicit:
        data.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian
    else:
        data.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian


def frame_pages(path: Path) -> list[int]:
    """Number the frames of a file as pages.

    Args:
        path: The file.

    Returns:
        1 for the middle frame, and the pages of all others; [1] if the number of frames is unknown.
    """
    if version() is None:
        return [1]
    import pydicom

    _prepare()
    try:
        with path.open("rb") as file:
            if not is_dicom(file.read(HEAD)):
                return [1]
            file.seek(0)
            frames = _frames(
                pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=["NumberOfFrames"])
            )
    except Exception:  # noqa: BLE001  # damaged: reading it will say why
        return [1]
    middle = frames // 2 + 1
    others = [page for page in range(2, min(frames, MOST_PAGES) + 1) if page != middle]
    return [1, FIRST_FRAME, *others] if middle > 1 else [1]


def _frames(data: Any) -> int:
    try:
        return max(1, int(data.get("NumberOfFrames") or 1))
    except (TypeError, ValueError):
        return 1


def _shown(data: Any, frame: int, wanted: Range) -> Image.Image:
    from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut
    from pydicom.pixels.utils import pixel_array

    values = pixel_array(data, index=frame)
    photometric = str(data.get("PhotometricInterpretation", "MONOCHROME2"))
    if photometric == "PALETTE COLOR":
        colours = apply_color_lut(values, data)
        return Image.fromarray((colours >> 8).astype(np.uint8) if colours.dtype == np.uint16 else colours)
    if values.ndim == 3:
        stored = int(data.get("BitsStored", 8))
        eight, _ = to_eight_bits(values, declared=(0.0, float(2**stored - 1)))
        return Image.fromarray(eight)
    padding = None
    if data.get("PixelPaddingValue") is not None and data.get("PixelPaddingRangeLimit") is None:
        padding = values == int(data.PixelPaddingValue)
    stored_values, values = values, apply_modality_lut(values, data) if _is_rescaled(data) else values
    plain = values is stored_values and data.get("BitsStored") == 8 and not data.get("PixelRepresentation")
    wanted = AUTO if plain else wanted
    declared = _window(data) if wanted == AUTO else None
    by_table = wanted == AUTO and data.get("VOILUTSequence")
    if by_table or (declared and str(data.get("VOILUTFunction", "")) == "SIGMOID"):
        values = apply_voi_lut(values, data)
        declared = (float(values.min()), float(values.max())) if values.min() < values.max() else None
    values = np.asarray(values)
    if declared is None and padding is not None and not padding.all():
        values = np.where(padding, values[~padding].min(), values)
    if declared is None and plain and values is stored_values:
        declared = (0.0, 255.0)
    inverted = photometric == "MONOCHROME1"
    eight, _ = to_eight_bits(
        values, declared=declared, no_data=float("nan"), inverted=inverted, photo=values is stored_values, wanted=wanted
    )
    return Image.fromarray(eight)


def _is_rescaled(data: Any) -> bool:
    """Whether the modality gives other values than those that are stored; many files have a slope of 1."""
    try:
        same = float(data.get("RescaleSlope") or 1) == 1 and float(data.get("RescaleIntercept") or 0) == 0
    except (TypeError, ValueError):
        return True
    return bool(data.get("ModalityLUTSequence")) or not same


def _window(data: Any) -> tuple[float, float] | None:
    """The values of black and white of the first window (PS3.3, section C.11.2.1.2)."""
    try:
        centre = np.atleast_1d(np.asarray(data.WindowCenter, float))[0]
        width = np.atleast_1d(np.asarray(data.WindowWidth, float))[0]
    except (AttributeError, TypeError, ValueError, IndexError):
        return None
    exact = str(data.get("VOILUTFunction", "LINEAR")) == "LINEAR_EXACT"
    low, high = centre - width / 2, centre + width / 2
    if not exact:
        low, high = centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2
    if low == high:  # a width of 1: black up to here, white above
        high = low + 1e-6
    return (float(low), float(high)) if np.isfinite([low, high]).all() and low < high else None


def _lacks_decoder(data: Any) -> bool:
    try:
        from pydicom.pixels.decoders.base import get_decoder

        return not get_decoder(data.file_meta.TransferSyntaxUID).is_available
    except Exception:  # noqa: BLE001
        return False


def _kind(error: Exception) -> str:
    return f"pydicom stops with {type(error).__name__}"


@functools.cache
def _prepare() -> None:
    """Silence pydicom's log, which quotes values of the file, and add a decoder that pydicom lacks."""
    from .dicom_codecs import register

    for name in ("pydicom", "pylibjpeg", "openjpeg"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    register()
