"""Tiles as a satellite with 13 bands sends them, made up: ``python docs/make_tiles.py FOLDER [--tiles 240]``.

Each tile is a 64 x 64 TIFF of 13 unsigned 16-bit bands (reflectance times 10,000), in a folder named after its kind of
land. For the walk in docs/instruments.md; needs tifffile.
"""

import argparse
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

SIDE, BANDS = 64, 13
# reflectance times 10,000 of Sentinel-2's bands 1 to 12 (8A after 8), by eye from published spectra
SPECTRA = {
    "water": (900, 700, 500, 300, 250, 200, 180, 160, 150, 80, 10, 60, 40),
    "forest": (800, 500, 550, 350, 800, 2200, 2700, 2800, 3000, 900, 15, 1400, 600),
    "field": (1000, 800, 1000, 900, 1500, 2800, 3200, 3300, 3500, 1200, 15, 2200, 1300),
    "town": (1500, 1500, 1600, 1700, 1900, 2100, 2200, 2300, 2400, 1100, 20, 2600, 2300),
}


def relief(rng: np.random.Generator, cells: int) -> np.ndarray:
    """Smooth values in 0..1, (SIDE, SIDE), with ``cells`` bumps a side."""
    rough = Image.fromarray(rng.random((cells, cells)).astype(np.float32))
    smooth = np.asarray(rough.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    return (smooth - smooth.min()) / (np.ptp(smooth) + 1e-6)


def tile(rng: np.random.Generator, kind: str) -> np.ndarray:
    """One tile, uint16 (SIDE, SIDE, BANDS): mostly of one kind of land, with some of another."""
    other = str(rng.choice([name for name in SPECTRA if name != kind]))
    texture = {"water": relief(rng, 3), "forest": relief(rng, 24), "field": _stripes(rng), "town": _blocks(rng)}[kind]
    share = (relief(rng, 4) > rng.uniform(0.75, 0.95))[:, :, None]
    spectrum = np.where(share, np.array(SPECTRA[other]), np.array(SPECTRA[kind]))
    light = rng.uniform(0.8, 1.2) * (0.7 + 0.6 * texture)[:, :, None]
    values = spectrum * light + rng.normal(0, 15, (SIDE, SIDE, BANDS))
    return values.clip(0, 65535).round().astype(np.uint16)


def _stripes(rng: np.random.Generator) -> np.ndarray:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    angle, width = rng.uniform(0, np.pi), rng.uniform(4, 12)
    return 0.5 + 0.5 * np.sin((rows * np.cos(angle) + columns * np.sin(angle)) * 2 * np.pi / width)


def _blocks(rng: np.random.Generator) -> np.ndarray:
    size = int(rng.integers(4, 9))
    cells = rng.random((SIDE // size + 1, SIDE // size + 1))
    streets = np.ones((size, size))
    streets[0, :] = streets[:, 0] = 0
    return np.kron(cells, streets)[:SIDE, :SIDE]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tiles", type=int, default=240)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    for number in range(options.tiles):
        kind = list(SPECTRA)[number % len(SPECTRA)]
        file = options.folder / kind / f"{kind}-{number // len(SPECTRA):03}.tif"
        file.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(file, tile(rng, kind), photometric="minisblack", planarconfig="contig", compression="deflate")


if __name__ == "__main__":
    main()
