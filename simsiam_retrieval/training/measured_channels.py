"""Mean and standard deviation of each channel of a run's images, if they are not red, green and blue."""

import dataclasses

import numpy as np

from .config import Config
from .pixel_store import ImageStore

MEASURED = ("channel_mean", "channel_std")  # settings that are always measured, never given
IMAGES = 2048  # evenly spaced images that are measured
LEAST_STD = 0.004  # one grey level: lower bound, so that a constant band is not amplified
DIGITS = 6


def with_measured_channels(config: Config, store: ImageStore) -> Config:
    """Add the mean and standard deviation of each channel to the settings.

    Args:
        config: Settings of the run.
        store: The images.

    Returns:
        The new settings; unchanged for RGB, or if it has them already.
    """
    if config.channels == 3 or config.channel_mean:
        return config
    rows = np.unique(np.linspace(0, len(store) - 1, min(IMAGES, len(store))).round().astype(np.int64))
    sums = np.zeros((2, config.channels))
    for part in np.array_split(rows, -(-len(rows) // 64)):
        pixels = store.take(part).astype(np.float64) / 255  # (n, channels, side, side)
        sums += [pixels.mean(axis=(2, 3)).sum(axis=0), (pixels**2).mean(axis=(2, 3)).sum(axis=0)]
    mean, square = sums / len(rows)
    std = np.sqrt(np.maximum(square - mean**2, 0)).clip(LEAST_STD)
    measured = (tuple(float(round(value, DIGITS)) for value in values) for values in (mean, std))
    return dataclasses.replace(config, **dict(zip(MEASURED, measured, strict=True)))
