"""The images for calibrating, fitting and checking an export. Images for the check are used for nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.core.example_photos import example_photos
from simsiam_retrieval.core.paths import absolute
from simsiam_retrieval.core.progress import bar
from simsiam_retrieval.images.decode import ImageError, read_image, square_of
from simsiam_retrieval.images.files import list_images
from simsiam_retrieval.images.reading import AS_THEY_ARE, Reading

CALIBRATION_IMAGES = 512  # 1,024 gave the same recall of neighbours
HELD_OUT_IMAGES = 512
FITTED_IMAGES = 4096  # images for PCA
FEWEST = 2


@dataclass(frozen=True)
class Split:
    """Files by purpose.

    Attributes:
        calibration: For the ranges of int8.
        fitting: For PCA.
        held_out: For the check.
        labels: Held-out file -> class, if all have one.
        examples: Whether the run's own images are missing and the example photos replace them.
    """

    calibration: list[Path]
    fitting: list[Path]
    held_out: list[Path]
    labels: dict[Path, str] = field(default_factory=dict)
    examples: bool = False


@dataclass(frozen=True)
class Squares:
    """Decoded files, as the encoder sees them.

    Attributes:
        pixels: uint8 (n, side, side, channels).
        files: The files that could be decoded.
    """

    pixels: NDArray[np.uint8]
    files: list[Path]


def choose(
    roots: Sequence[Path],
    *,
    calibrate: Path | None = None,
    fit: Path | None = None,
    held_out: Path | None = None,
    images: int = HELD_OUT_IMAGES,
) -> Split:
    """Choose evenly spaced files below the run's folders; every second one is for the check.

    The first subfolder below a root is the label.

    Args:
        roots: The run's folders.
        calibrate: Another folder for calibration.
        fit: Another folder for PCA.
        held_out: Another folder for the check.
        images: Number of images for the check.

    Returns:
        The files by purpose.

    Raises:
        UserError: A named folder has no images, or there are too few images for the check.
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


def decoded(files: Sequence[Path], side: int, label: str, reading: Reading = AS_THEY_ARE) -> Squares:
    """Decode the centre squares of files. Broken files are skipped.

    Args:
        files: The files.
        side: Side of the squares in pixels.
        label: Text of the progress bar.
        reading: How files become pixels.

    Returns:
        The squares.

    Raises:
        UserError: Fewer than two files can be decoded.
    """
    pixels, usable = [], []
    with bar(label, len(files)) as shown:
        for file in files:
            shown.advance()
            try:
                pixels.append(square_of(read_image(file, max(2 * side, 256), reading), side))
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
    """The first subfolder below its root for each file; empty if there are no such folders."""
    labels: dict[Path, str] = {}
    for file in files:
        root = next((root for root in map(absolute, roots) if root in file.parents), None)
        below = () if root is None else file.relative_to(root).parts
        if len(below) < 2:
            return {}
        labels[file] = f"{root}/{below[0]}"  # each root has its own classes
    return labels if len(set(labels.values())) > 1 else {}
