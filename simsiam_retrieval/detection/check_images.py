"""Looking at images once before training, in worker processes; no torch, so that these start fast."""

from pathlib import Path

from ..images.decode import ImageError, decode


def read_sizes(files: list[Path]) -> list[tuple[int, int] | str]:
    """Width and height of each image as it is decoded, upright, or the reason why it cannot be."""
    sizes: list[tuple[int, int] | str] = []
    for file in files:
        try:
            sizes.append(decode(file).size)
        except ImageError as error:
            sizes.append(str(error))
    return sizes
