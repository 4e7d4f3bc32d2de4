"""Photos of any size for a benchmark: mosaics of real ones, as JPEGs."""

import random
import shutil
from pathlib import Path

from PIL import Image

ENLARGED = 2


def photos(source: list[Path], folder: Path, count: int, megapixels: list[float], seed: int) -> list[Path]:
    """``count`` mosaics below ``folder``, of these sizes in turn."""
    parts = [
        mosaics(source, folder / f"{size:g}", count // len(megapixels), size, seed + number)
        for number, size in enumerate(megapixels)
    ]
    return [file for each in zip(*parts, strict=True) for file in each]


def mosaics(source: list[Path], folder: Path, count: int, megapixels: float, seed: int) -> list[Path]:
    """``count`` JPEGs of this size, 4:3, each of other photos; those of an earlier run where they are still there."""
    if folder.exists() and len(found := sorted(folder.iterdir())) == count:
        return found
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    draw = random.Random(seed)
    width = round((megapixels * 1e6 * 4 / 3) ** 0.5)
    height = round(megapixels * 1e6 / width)
    made = []
    for number in range(count):
        image = Image.new("RGB", (width, height))
        top = 0
        while top < height:
            left, tallest = 0, 1
            while left < width:
                with Image.open(draw.choice(source)) as photo:
                    tile = photo.convert("RGB").resize(
                        (photo.width * ENLARGED, photo.height * ENLARGED), Image.Resampling.LANCZOS
                    )
                image.paste(tile, (left, top))
                left, tallest = left + tile.width, max(tallest, tile.height)
            top += tallest // 2  # rows overlap, so that no gap is left below short photos
        made.append(folder / f"{number:05d}.jpg")
        image.save(made[-1], quality=90)
    return made
