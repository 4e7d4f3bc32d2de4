"""Which images an export is calibrated, fitted and checked on; those it is checked on serve for nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.core.example_photos import example_photos
from simsiam_retrieval.core.paths import absolute
from simsiam_retrieval.core.progress import bar
from simsiam_retrieval.images.decode import ImageError, centre_square, decode
from simsiam_retrieval.images.files import list_images

CALIBRATION_IMAGES = 512  # 1,024 gave the same recall of neighbours
HELD_OUT_IMAGES = 512
FITTED_IMAGES = 4096  # for PCA
FEWEST = 2


@dataclass(frozen=True)
class Split:
    """Files, each for one purpose."""

    calibration: list[Path]
    fitting: list[Path]
    held_out: list[Path]
    labels: dict[Path, str] = field(default_factory=dict)  # of held-out files, where all have one
    examples: bool = False  # the run's own images are gone


@dataclass(frozen=True)
class Squares:
    """Decoded files: what the encoder sees of them."""

    pixels: NDArray[np.uint8]  # (n, side, side, 3)
    files: list[Path]  # those that could be decoded


def choose(
    roots: Sequence[Path],
    *,
    calibrate: Path | None = None,
    fit: Path | None = None,
    held_out: Path | None = None,
    images: int = HELD_OUT_IMAGES,
) -> Split:
    """Choose evenly spaced files below ``roots``, the run's data; every other one is for checking.

    ``calibrate``, ``fit`` and ``held_out`` name other folders for their purpose. Labels are first subfolders. Raises
    :class:`UserError` for a named folder without images.
    """
    own = [image.path for image in list_images([root for root in roots if root.exists()]).images]
    examples = len(own) < 2 * FEWEST
    if examples:
        roots = [example_photos()]
        own = [image.path for image in list_images(roots).images]
    spaced = _spaced(own, CALIBRATION_IMAGES + images)
    asked = None if calibrate is None else _spaced(_below(calibrate, "--calibrate"), CALIBRATION_IMAGES)
    calibration = spaced[0::2] if asked is None else asked
    if held_out is None:
        checked = [file for file in spaced[1::2] if file not in set(asked or ())]
        labels = _labels(checked, roots)
    else:
        taken = set(calibration)
        checked = _spaced([file for file in _below(held_out, "--held-out") if file not in taken], images)
        labels = _labels(checked, [held_out])
    if len(checked) < FEWEST:
        raise UserError("too few images to check the encoder on; name a folder of others with --held-out")
    kept = set(checked)
    fitting = own if fit is None else _below(fit, "--fit")
    fitting = _spaced([file for file in fitting if file not in kept], FITTED_IMAGES)
    return Split(calibration, fitting, checked, labels, examples)


def decoded(files: Sequence[Path], side: int, label: str) -> Squares:
    """The centred squares of ``files`` at ``side`` pixels, as every encoder sees them; broken files are left out."""
    pixels, usable = [], []
    with bar(label, len(files)) as shown:
        for file in files:
            shown.advance()
            try:
                pixels.append(np.asarray(centre_square(decode(file, short_side=max(2 * side, 256)), side)))
            except ImageError:
                continue
            usable.append(file)
    if len(usable) < FEWEST:
        raise UserError(f"{label}: {len(usable)} of {len(files)} images can be read; name a folder of others")
    return Squares(np.stack(pixels), usable)


def _below(folder: Path, option: str) -> list[Path]:
    found = [image.path for image in list_images([absolute(folder)]).images]
    if not found:
        raise UserError(f"{option} {folder}: no image files in there")
    return found


def _spaced(files: Sequence[Path], count: int) -> list[Path]:
    if len(files) <= count:
        return list(files)
    return [files[index] for index in np.linspace(0, len(files) - 1, count).round().astype(int)]


def _labels(files: Sequence[Path], roots: Sequence[Path]) -> dict[Path, str]:
    """The first subfolder below its root, for each file; nothing where there is no such order."""
    labels: dict[Path, str] = {}
    for file in files:
        root = next((root for root in map(absolute, roots) if root in file.parents), None)
        below = () if root is None else file.relative_to(root).parts
        if len(below) < 2:
            return {}
        labels[file] = f"{root}/{below[0]}"  # of two roots, each has its own classes
    return labels if len(set(labels.values())) > 1 else {}
