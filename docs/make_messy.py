"""A messy folder: ``python docs/make_messy.py FOLDER --photos CLOTHES --xrays XRAYS``, for docs/label-a-folder.md.

Puts 1,200 photos of CLOTHES (one subfolder a class) into FOLDER without their labels, and among them what ought to be
found: smaller, recompressed copies, blurred and dark photos in place of the sharp ones, X-rays, and damaged files.
Beside FOLDER are written ``planted.csv`` (path, kind) and ``truth.csv`` (path, label).
"""

import argparse
import csv
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageFilter

PHOTOS, COPIES, BLURRED, DARK, XRAYS, DAMAGED = 1200, 60, 20, 15, 15, 5


def smaller(image: Image.Image) -> Image.Image:
    return image.resize((image.width * 3 // 4, image.height * 3 // 4))


def blurred(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(min(image.size) * 0.02))


def dark(image: Image.Image) -> Image.Image:
    return image.point([value // 6 for value in range(256)] * 3)


def changed(source: Path, target: Path, change: Callable[[Image.Image], Image.Image], quality: int) -> None:
    with Image.open(source) as image:
        change(image.convert("RGB")).save(target, quality=quality)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--xrays", type=Path, required=True)
    arguments = parser.parse_args()
    folder = arguments.folder.absolute()
    folder.mkdir(parents=True)
    draw = random.Random(0)
    photos = sorted(arguments.photos.rglob("*.jpg"))
    draw.shuffle(photos)
    photos = photos[:PHOTOS]
    truth: list[tuple[Path, str]] = []
    planted: list[tuple[Path, str]] = []

    def named(number: int) -> Path:
        return folder / f"IMG_{number:04}.jpg"

    spoilt = range(COPIES, COPIES + BLURRED + DARK)
    for number, photo in enumerate(photos):
        if number not in spoilt:
            shutil.copy(photo, named(number))
            truth.append((named(number), photo.parent.name))
    for number, photo in enumerate(photos[:COPIES]):
        target = folder / f"copy_{number:02}.jpg"
        changed(photo, target, smaller, 70)
        planted.append((target, "near-duplicate"))
        truth.append((target, photo.parent.name))
    for number in spoilt:
        kind, change = ("blurred", blurred) if number < COPIES + BLURRED else ("dark", dark)
        target = named(PHOTOS + number - COPIES)
        changed(photos[number], target, change, 90)
        planted.append((target, kind))
        truth.append((target, photos[number].parent.name))
    xrays = sorted(arguments.xrays.rglob("*.jp*g"))
    draw.shuffle(xrays)
    for number, xray in enumerate(xrays[:XRAYS], PHOTOS + 40):
        shutil.copy(xray, named(number))
        planted.append((named(number), "outlier"))
    for number, photo in enumerate(photos[100 : 100 + DAMAGED], PHOTOS + 60):
        named(number).write_bytes(photo.read_bytes()[:700])
        planted.append((named(number), "damaged"))
    for name, rows, columns in (("truth", truth, ("path", "label")), ("planted", planted, ("path", "kind"))):
        with (folder.parent / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([columns, *rows])


if __name__ == "__main__":
    main()
