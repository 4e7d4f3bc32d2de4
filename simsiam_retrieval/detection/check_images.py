"""Checking images once before training, in worker processes. Imports no torch, so that workers start fast."""

from pathlib import Path

from ..images.decode import ImageError, decode


def read_sizes(files: list[Path]) -> list[tuple[int, int] | str]:
    """Decode images and return their sizes.

    Args:
        files: The images.

    Returns:
        Width and height of each image, upright, or the reason why it cannot be decoded.
    """
    sizes: list[tuple[int, int] | str] = []
    for file in files:
        try:
            sizes.append(decode(file).size)
        except ImageError as error:
            sizes.append(str(error))
    return sizes
