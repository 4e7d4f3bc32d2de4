"""Scaling samples of any depth to 8 bits: which values are black and white, and which are no measurement."""

import numpy as np
from numpy.typing import NDArray

from .reading import AUTO, PER_IMAGE, Range

TAIL = 0.001  # fraction of pixels at either end that may be outside an undeclared range: hot and dead pixels
SAMPLES = 1_000_000  # values from which percentiles are computed; more are thinned out evenly
BLOCK = 4_000_000  # values that are converted at once
# usual marks for "no measurement"; without a declaration they count only if they are far from all other values
SENTINELS = (-9999.0, -99999.0, -32768.0, -32767.0, -2147483648.0, float(np.finfo(np.float32).min), -1.0e20)


def to_eight_bits(
    values: NDArray,
    *,
    declared: tuple[float, float] | None = None,
    no_data: float | None = None,
    inverted: bool = False,
    photo: bool = True,
    wanted: Range = AUTO,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
    """Scale samples to 0..255 by the range that is used, not by the range of their dtype.

    Args:
        values: (height, width) or (height, width, channels); integers, floats or booleans. Channels share one range.
        declared: Values of black and white if the file declares them; otherwise see ``used_range``.
        no_data: Value of pixels without a measurement. NaN always counts as one.
        inverted: Whether the lowest value is white.
        photo: Whether unsigned integers may be a photo's; see ``used_range``.
        wanted: "auto"; "per-image" for the range that the samples use, whatever is declared; or values of black and
            white.

    Returns:
        A uint8 array of the same shape, and a (height, width) mask that is False for pixels without a measurement, or
        None if there are none. Such pixels get the mean of the others: it changes a vector least (docs/instruments.md).
        Infinities become black or white.
    """
    if values.dtype == bool:
        eight = values.astype(np.uint8) * np.uint8(255)
        return (255 - eight if inverted else eight), None
    valid = _valid(values, no_data)
    if isinstance(wanted, tuple):
        low, high = wanted
    elif wanted == PER_IMAGE:
        low, high = used_range(values, valid, photo=False)
    else:
        low, high = declared or used_range(values, valid, photo=photo)
    # halves, because the difference of two floats can overflow
    scale = 255.0 / ((high / 2 - low / 2) or 1.0) / 2
    eight = np.empty(values.shape, np.uint8)
    rows = max(1, BLOCK // max(1, values[:1].size))
    for top in range(0, len(values), rows):
        part = values[top : top + rows].astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            part = np.nan_to_num((part - low) * scale, nan=0.0, posinf=255.0, neginf=0.0)
        eight[top : top + rows] = part.clip(0, 255).round()
    if inverted:
        np.subtract(255, eight, out=eight)
    if valid is not None and valid.any():
        eight[~valid] = eight[valid].mean(axis=0).round().astype(np.uint8)
    return eight, valid


def used_range(values: NDArray, valid: NDArray[np.bool_] | None = None, *, photo: bool = True) -> tuple[float, float]:
    """Determine the values of black and white from a picture's own samples.

    Unsigned integers that use at least half of the range up to their highest used bit get the range from 0 to that
    bit's maximum. A photo in 10, 12 or 16 bits then looks as it does in 8. Other values get the range from the lowest
    to the highest, without one pixel in 1,000 at either end.

    Args:
        values: Samples of any shape.
        valid: Mask of measured values; None for all.
        photo: False applies the second rule to unsigned integers, too.

    Returns:
        Values of black and white.
    """
    known = values if valid is None else values[valid]
    known = known.reshape(-1)
    if known.dtype.kind == "f":
        known = known[np.isfinite(known)]
    if not known.size:
        return 0.0, 1.0
    lowest, highest = float(known.min()), float(known.max())
    thinned = np.sort(known[:: max(1, -(-known.size // SAMPLES))])
    skip = int((len(thinned) - 1) * TAIL)
    low, high = float(thinned[skip]), float(thinned[len(thinned) - 1 - skip])
    if not low < high:  # fewer than one pixel in 1,000 differ
        low, high = lowest, highest
    if photo and known.dtype.kind == "u":
        top = float(2 ** int(high).bit_length() - 1)
        if high - low >= top / 2:
            return 0.0, top
    return (low, high) if low < high else (low - 1, low + 1)  # all equal: a middle grey


def _valid(values: NDArray, no_data: float | None) -> NDArray[np.bool_] | None:
    missing = np.asarray(np.isnan(values)) if values.dtype.kind == "f" else np.zeros(values.shape, bool)
    if no_data is not None and not np.isnan(no_data):
        # the value is declared in decimals (-3.4e38); compare it in the file's dtype
        if values.dtype.kind == "f":
            with np.errstate(over="ignore"):
                missing |= values == values.dtype.type(no_data)
        elif float(no_data).is_integer():
            missing |= values == int(no_data)
    elif values.dtype.kind in "if" and values.size:
        sentinel = _sentinel(values)
        if sentinel is not None:
            missing |= values == sentinel
    if values.ndim == 3:
        missing = missing.all(axis=2)
    return np.asarray(~missing) if missing.any() else None


def _sentinel(values: NDArray) -> float | int | None:
    """The lowest value if it is a usual mark and farther from the others than they are from each other."""
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if not finite.size:
        return None
    lowest = finite.min()
    if float(lowest) not in SENTINELS and float(lowest) > -1e30:
        return None
    rest = finite[finite != lowest]
    if not rest.size:
        return None
    second, highest = float(rest.min()), float(rest.max())
    return lowest if second / 2 - float(lowest) / 2 > (highest / 2 - second / 2) else None
