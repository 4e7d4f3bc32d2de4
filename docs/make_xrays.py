"""X-rays as devices write them: ``python docs/make_xrays.py FOLDER [--images 240] [--of PICTURES]``.

Stores greys in turn as DICOM (12 bits, with a window; every second one MONOCHROME1), as 16-bit PNG with 12 bits used,
and as 16-bit TIFF in which zero is white, each with another exposure. The greys are drawn chests, with or without a
shadow in a lung; ``--of`` takes those of a folder of 8-bit pictures instead, one subfolder a class. For the walk in
docs/instruments.md; needs pydicom and tifffile.
"""

import argparse
from pathlib import Path

import numpy as np
import pydicom
import tifffile
from PIL import Image, ImageDraw, ImageFilter
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

SIDE, BITS = 224, 12
WHITE = 2**BITS - 1


def chest(rng: np.random.Generator, *, shadow: bool) -> Image.Image:
    """A drawn chest: a body, two dark lungs, ribs, spine and heart; nothing that a physician would take for one."""
    image = Image.new("L", (SIDE, SIDE), 8)
    draw = ImageDraw.Draw(image)
    left, top = rng.integers(10, 30), rng.integers(5, 30)
    draw.rounded_rectangle((left, top, SIDE - left, SIDE), 60, fill=int(rng.integers(120, 160)))
    lung, middle = int(rng.integers(30, 60)), SIDE // 2 + int(rng.integers(-6, 7))
    height = int(rng.integers(110, 150))
    for side in (-1, 1):
        x = middle + side * int(rng.integers(42, 50))
        draw.ellipse((x - 30, top + 25, x + 30, top + 25 + height), fill=lung)
    if shadow:
        x, y = middle + int(rng.choice([-1, 1])) * 45, top + 60 + int(rng.integers(0, 60))
        size = int(rng.integers(12, 24))
        draw.ellipse((x - size, y - size, x + size, y + size), fill=lung + 70)
    for rib in range(7):
        y = top + 35 + rib * 20
        for side in (-1, 1):
            box = sorted((middle + side * 4, middle + side * 84))
            draw.arc((box[0], y - 25, box[1], y + 25), 200, 340, fill=lung + 55, width=4)
    draw.rectangle((middle - 8, top, middle + 8, SIDE), fill=200)
    draw.ellipse((middle - 12, top + 90, middle + 42, top + 160), fill=185)
    noise = Image.fromarray(rng.normal(128, 12, (SIDE, SIDE)).clip(0, 255).astype(np.uint8))
    return Image.blend(image.filter(ImageFilter.GaussianBlur(2.5)), noise, 0.12)


def store(file: Path, image: Image.Image, rng: np.random.Generator, number: int) -> None:
    """Store a grey with 12 bits, in one of three kinds of file; the suffix is chosen here."""
    grey = np.asarray(image.convert("L")).astype(np.float64) / 255
    low, high = rng.uniform(0, 0.15), rng.uniform(0.7, 1)
    values = ((low + grey * (high - low)) * WHITE).round().astype(np.uint16)
    if number % 3 == 0:
        _dicom(file.with_suffix(".dcm"), values, (low * WHITE, high * WHITE), inverted=number % 2 == 0)
    elif number % 3 == 1:
        Image.fromarray(values).save(file.with_suffix(".png"))
    else:
        tifffile.imwrite(file.with_suffix(".tif"), WHITE - values, photometric="miniswhite", compression="deflate")


def _dicom(file: Path, values: np.ndarray, limits: tuple[float, float], *, inverted: bool) -> None:
    low, high = limits
    if inverted:
        values, low, high = WHITE - values, WHITE - high, WHITE - low
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPInstanceUID = ExplicitVRLittleEndian, generate_uid()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    data = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    data.Rows, data.Columns = values.shape
    data.SamplesPerPixel, data.PixelRepresentation, data.Modality = 1, 0, "DX"
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, BITS, BITS - 1
    data.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    data.WindowCenter, data.WindowWidth = round((low + high) / 2, 1), round(high - low, 1)
    data.PixelData = values.astype("<u2").tobytes()
    pydicom.dcmwrite(file, data)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=240)
    parser.add_argument("--of", type=Path)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    pictures = sorted(path for path in options.of.rglob("*.*") if path.is_file()) if options.of else []
    chosen = rng.permutation(len(pictures))[: options.images] if pictures else range(options.images)
    for number, place in enumerate(chosen):
        kind = pictures[place].parent.name if pictures else ("clear", "shadow")[number % 2]
        file = options.folder / kind / f"{kind}-{number:04}"
        file.parent.mkdir(parents=True, exist_ok=True)
        if pictures:
            with Image.open(pictures[place]) as picture:
                store(file, picture, rng, number)
        else:
            store(file, chest(rng, shadow=kind == "shadow"), rng, number // 2)


if __name__ == "__main__":
    main()
