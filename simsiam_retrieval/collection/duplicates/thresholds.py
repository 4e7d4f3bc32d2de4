"""From which cosine two files are near-duplicates, and from which there is little doubt."""

from collections.abc import Sequence
from pathlib import Path

from ...core.errors import UserError
from ..types import Duplicate
from .pixels.kinds import COPIES

# encoder identity -> lowest cosine of near-duplicates; from benchmarks/duplicate_threshold.py, see docs/duplicates.md
CALIBRATED = {
    "e6c89f0ae9b58f47": 0.932,
    "15a287fd2689bb98": 0.938,
    "58ad9a252f5dba23": 0.934,
    "b66f3e2b1e582e57": 0.926,
    "86fa80833c9d7c2a": 0.985,
}
# encoder identity -> cosine from which two files almost certainly show the same picture
SURE = {"e6c89f0ae9b58f47": 0.97, "15a287fd2689bb98": 0.97, "58ad9a252f5dba23": 0.97, "b66f3e2b1e582e57": 0.98}

# pixels are compared from this much below the calibrated threshold on; see docs/duplicates.md
COMPARED_BELOW = 0.25
REGIONS_BELOW = 0.43  # the same of a picture and a region of another one


def compared_from(listed: float, encoder: str, below: float = COMPARED_BELOW) -> float:
    """Determine the lowest cosine of pairs whose pixels are compared.

    Args:
        listed: Lowest cosine of pairs that are listed although they are no copies.
        encoder: Identity of the encoder.
        below: How far below the calibrated threshold.

    Returns:
        The lower one of ``listed`` and the calibrated threshold less ``below``; ``listed`` without a calibrated one.
    """
    return min(listed, CALIBRATED[encoder] - below) if encoder in CALIBRATED else listed


def check_threshold(threshold: float | None, encoder: str, folder: Path) -> float:
    """Determine the threshold for an encoder.

    Args:
        threshold: The user's threshold, or None for the calibrated one.
        encoder: Identity of the encoder.
        folder: The collection's folder, for the message.

    Returns:
        The threshold.

    Raises:
        UserError: It is no cosine above 0, or there is no calibrated one.
    """
    if threshold is None:
        if encoder not in CALIBRATED:
            raise UserError(
                f"{folder}: no threshold is known for its encoder ({encoder}); give --threshold (docs/duplicates.md "
                "says how to find one), or --exact"
            )
        return CALIBRATED[encoder]
    if not 0 < threshold <= 1:
        raise UserError(f"--threshold {threshold:g}: a cosine above 0 and at most 1, such as 0.98")
    return threshold


def split_possible(
    groups: Sequence[list[Duplicate]], sure: float | None
) -> tuple[list[list[Duplicate]], list[list[Duplicate]]]:
    """Divide groups into files that surely show one picture and those that possibly do.

    Args:
        groups: As ``Collection.duplicates`` returns them, the best file of each first.
        sure: Cosine with the best file from which there is little doubt (``SURE``); None: there is never any.

    Returns:
        Groups of sure files and groups of possible ones, in the same order, each with the best file first. A group may
        be in both.
    """
    parts: tuple[list[list[Duplicate]], list[list[Duplicate]]] = [], []
    for best, *others in groups:
        surely = [file for file in others if is_sure(file, sure)]
        possibly = [file for file in others if not is_sure(file, sure)]
        for part, files in zip(parts, (surely, possibly), strict=True):
            if files:
                part.append([best, *files])
    return parts


def is_sure(file: Duplicate, sure: float | None) -> bool:
    """Return whether a file surely shows the picture of its group's best file.

    Args:
        file: The file.
        sure: See ``split_possible``.

    Returns:
        True if it does.
    """
    if file.kind:  # the pixels decide
        return file.kind in COPIES
    return sure is None or file.exact or file.score >= sure
