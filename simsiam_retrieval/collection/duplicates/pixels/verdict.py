"""The verdict on two pictures: which kind of pair they are."""

import itertools
from datetime import datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .agreement import Agreement, Box, agreement
from .alignment import Alignment, by_features, over_the_frame
from .kinds import BURST, CROP, EDITED, FIRST, LOOK_ALIKE, RESIZED, SECOND, Verdict
from .picture import Picture

# chosen on attacks and on the closest pairs of Imagenette's training photos, see docs/duplicates.md
AGREEING, CORRELATION = 0.93, 0.9  # least fraction of the shared cells that agree in copies, and their correlation
CHANGED_AGREEING, CHANGED_CORRELATION = 0.9, 0.985  # the same of clear copies of which a part was changed
SOFT_CORRELATION = 0.8  # the same of copies in the same orientation, which may be blurred
FEW_CELLS, SOME_CELLS, MANY_CELLS = 12, 25, 40  # least number of agreeing cells, less differing ones
SOFT_CONTRAST, SOFT_DIFFERENCE = 20.0, 2.0  # of 255: copies without details have contrast, and equal pixels
# Two shots of one scene differ in their pixels, also where their details agree: the mean difference of copies, of 255,
# unless they are clear everywhere, and only their light was changed.
RESIDUE, CLEAR_CHANGED, CLEAR_EVERYWHERE = 9.0, 0.01, 0.98
# a part of both, as in a screenshot: least correlation and agreeing cells, most difference of light and colour, of 255
PART_CORRELATION, PART_AGREEING, PART_LIGHT = 0.99, 0.75, 1.5
FEW_INLIERS, FEW_CORRELATION = 8, 0.95  # with fewer, the cells must correlate so much, and be many
RECOLOURED = 14.0  # of 255: from this difference of colours on, more cells must agree
WHOLE = 0.95  # share of a picture that counts as all of it
TURNED_WHOLE = 0.85  # the same for a turned picture, whose corners are cut off
LEAST_SHARE, CLEAR_SHARE = 0.3, 0.15  # of the two pictures, one shares at least this; the latter with many features
CLEAR_INLIERS, CLEAR_CELLS, CLEAR_SHARE_CORRELATION = 20, 18, 0.95
FRAME_SHARE = 0.8  # and both at least this, where whole frames were laid over each other
SCENE = 0.35  # least fraction of agreeing cells in two shots of one scene
SCENE_INLIERS = 15
TURN = 1.0  # degrees
COLOUR, BRIGHTNESS = 5.0, 12.0  # of 255, where the copy is clear
HARD_COLOUR = 12.0  # of 255, where it was compressed hard, which changes colours, too
CLEAR, CHANGED = 0.985, 0.06  # a copy is edited if that many of its cells changed, and the others are that clear
PLAIN, PLAIN_RANGE = 0.9, 24  # a border: this fraction of its pixels is within so many levels of their median
FLAT, FLAT_RANGE = 0.8, 6  # a frame: this fraction of its pixels differs from the next one by so few levels at most
BURST_SECONDS = 10
PERFECT = 0.99

Times = tuple[datetime | None, datetime | None]


def verdict(first: Picture, second: Picture, taken: Times = (None, None)) -> Verdict:
    """Compare two pictures that are not equal in all pixels.

    Args:
        first: The one picture.
        second: The other one.
        taken: When they were taken, if known.

    Returns:
        The verdict.
    """
    found = closest(first, second)
    apart = abs((taken[0] - taken[1]).total_seconds()) if taken[0] and taken[1] else None
    if found is not None and found.copy:
        copy = _kind_of_copy(first, second, found.alignment, found.agreement)
        # a copy has the time of its original, or none, unless somebody changed it
        shots = apart is not None and apart >= 1 and not _is_perfect(found.agreement)
        if not shots or copy.kind == CROP:
            return copy
    agreeing = 0.0 if found is None else round(found.agreement.agreeing, 3)
    shots = apart <= BURST_SECONDS if apart is not None else found is not None and _is_scene(found)
    return Verdict(BURST if shots else LOOK_ALIKE, agreement=agreeing)


class Match(NamedTuple):
    """An alignment of two pictures, what they have in common there, and whether they are copies."""

    alignment: Alignment
    agreement: Agreement
    copy: bool


def closest(first: Picture, second: Picture) -> Match | None:
    """Find the alignment at which two pictures have the most in common.

    Whole frames are laid over each other first, because that is fast. Features are looked for only if no copy is found.

    Args:
        first: The one picture.
        second: The other one.

    Returns:
        The closest match; None if there is no alignment.
    """
    best: Match | None = None
    frames = over_the_frame(first, second)[:2]
    for alignment in itertools.chain(frames, by_features(first, second)):
        found = agreement(first, second, alignment)
        if found is None:
            continue
        match = Match(alignment, found, is_copy(alignment, found))
        if best is None or (match.copy, found.evidence) > (best.copy, best.agreement.evidence):
            best = match
        if best.copy:
            break
    return best


def _is_upright_frame(alignment: Alignment) -> bool:
    return not alignment.inliers and not alignment.mirrored and abs(alignment.turned) < TURN


def is_copy(alignment: Alignment, found: Agreement) -> bool:
    """Return whether two pictures are made from the same photo.

    Args:
        alignment: How they were aligned.
        found: What they have in common.

    Returns:
        True if they are.
    """
    if not alignment.inliers and found.textured < FEW_CELLS and found.contrast >= SOFT_CONTRAST:
        # a picture without details, such as a blurred one
        return found.difference <= SOFT_DIFFERENCE and _covers(alignment, found)
    upright, recoloured = _is_upright_frame(alignment), found.colour > RECOLOURED
    if _is_clear_part(alignment, found):
        return _covers(alignment, found)
    if not _is_like_a_copy(alignment, found):
        return False
    if 0 < alignment.inliers < FEW_INLIERS:
        sure = found.agreeing >= AGREEING and found.correlation >= FEW_CORRELATION
        return _covers(alignment, found) and sure and found.evidence >= MANY_CELLS
    soft = SOFT_CORRELATION if upright and not recoloured else CORRELATION
    all_of_it = found.agreeing >= AGREEING and found.correlation >= soft
    most_of_it = found.agreeing >= CHANGED_AGREEING and found.correlation >= CHANGED_CORRELATION
    enough = found.evidence >= (SOME_CELLS if recoloured else FEW_CELLS)
    return _covers(alignment, found) and ((all_of_it and enough) or (most_of_it and found.evidence >= MANY_CELLS))


def _is_clear_part(alignment: Alignment, found: Agreement) -> bool:
    """Whether pictures share a part that is the same in light and colour; what lies around it may differ."""
    partial = max(found.first_share, found.second_share) < WHOLE and alignment.inliers >= CLEAR_INLIERS
    alike = found.correlation >= PART_CORRELATION and found.agreeing >= PART_AGREEING
    same_light = max(found.colour, found.brightness) <= PART_LIGHT
    return partial and alike and same_light and found.evidence >= MANY_CELLS


def _is_like_a_copy(alignment: Alignment, found: Agreement) -> bool:
    """Whether pixels differ no more than in copies; of slightly turned pictures most are shots of one scene."""
    tilt = abs((alignment.turned + 45) % 90 - 45)
    clear = found.changed <= CLEAR_CHANGED and found.correlation >= CLEAR_EVERYWHERE and tilt < TURN
    return clear or found.difference <= RESIDUE


def _covers(alignment: Alignment, found: Agreement) -> bool:
    if alignment.inliers:
        clear = alignment.inliers >= CLEAR_INLIERS and found.evidence >= CLEAR_CELLS
        clear = clear and found.correlation >= CLEAR_SHARE_CORRELATION
        return max(found.first_share, found.second_share) >= (CLEAR_SHARE if clear else LEAST_SHARE)
    return min(found.first_share, found.second_share) >= FRAME_SHARE


def _is_perfect(found: Agreement) -> bool:
    """Whether not even the noise of the camera differs, as it does in two shots of one scene."""
    return min(found.agreeing, found.correlation) >= PERFECT and found.changed <= 1 - PERFECT


def _is_scene(match: Match) -> bool:
    found = match.agreement
    share = max(found.first_share, found.second_share) >= LEAST_SHARE
    return share and match.alignment.inliers >= SCENE_INLIERS and found.agreeing >= SCENE


def _kind_of_copy(first: Picture, second: Picture, alignment: Alignment, found: Agreement) -> Verdict:
    agreeing = round(found.agreeing, 3)
    quarters = round(alignment.turned / 90) % 4
    tilt = abs((alignment.turned + 45) % 90 - 45)
    enough = WHOLE if tilt < TURN else TURNED_WHOLE
    whole = found.first_share >= enough, found.second_share >= enough
    edits = []
    if alignment.mirrored:
        edits.append("mirrored")
    if quarters or tilt >= TURN:
        # the alignment undoes what was done; y points down, so that a positive angle is clockwise
        turned = -quarters * 90 if tilt < TURN else round(-alignment.turned)
        edits.append(f"turned by {turned % 360}°")
    clear = found.correlation >= CLEAR
    if found.colour > (COLOUR if clear else HARD_COLOUR) or found.brightness > BRIGHTNESS:
        edits.append("colours")
    # where the frames were laid over each other, cells outside the rectangle were changed, or spoiled by compression
    if not alignment.inliers or (whole[0] and whole[1]):
        if clear and found.changed >= CHANGED:
            edits.append("parts changed")
        return Verdict(EDITED if edits else RESIZED, ", ".join(edits), agreement=agreeing)
    if whole[0] != whole[1]:
        inner, outer, box = (SECOND, first, found.first_box) if whole[1] else (FIRST, second, found.second_box)
        if rest_is_plain(outer, box):
            return Verdict(EDITED, ", ".join(["border", *edits]), agreement=agreeing)
        return Verdict(CROP, ", ".join(edits), inner, _rounded(box), agreeing)
    # parts of both: a screenshot of a part, or two overlapping crops
    for inner, outer_box, picture, own_box in (
        (SECOND, found.first_box, second, found.second_box),
        (FIRST, found.second_box, first, found.first_box),
    ):
        if rest_is_flat(picture, own_box):
            return Verdict(CROP, ", ".join([*edits, "in a frame"]), inner, _rounded(outer_box), agreeing)
    return Verdict(LOOK_ALIKE, "a part in common", agreement=agreeing)


def _rounded(box: Box) -> Box:
    left, top, width, height = (round(value, 4) for value in box)
    return left, top, width, height


def rest_is_plain(picture: Picture, box: Box) -> bool:
    """Return whether what is outside a box is of one colour.

    Args:
        picture: The picture.
        box: Left, top, width, height as fractions.

    Returns:
        True if nearly all of it is; False if nothing is outside.
    """
    pixels = picture.rgb[_outside(picture, box)].astype(np.int16)
    if not len(pixels):
        return False
    near = np.abs(pixels - np.median(pixels, axis=0)).max(axis=1) <= PLAIN_RANGE
    return bool(near.mean() >= PLAIN)


def rest_is_flat(picture: Picture, box: Box) -> bool:
    """Return whether what is outside a box has few edges, as the window around a picture on a screen.

    Args:
        picture: The picture.
        box: Left, top, width, height as fractions.

    Returns:
        True if it has; False if nothing is outside.
    """
    outside = _outside(picture, box)
    if not outside.any():
        return False
    grey = picture.grey
    down = np.abs(np.diff(grey, axis=0, append=grey[-1:]))
    across = np.abs(np.diff(grey, axis=1, append=grey[:, -1:]))
    return bool((np.maximum(down, across)[outside] <= FLAT_RANGE).mean() >= FLAT)


def _outside(picture: Picture, box: Box) -> NDArray[np.bool_]:
    outside = np.ones(picture.rgb.shape[:2], bool)
    left, top, width, height = box
    # one pixel more: the edge is a mixture
    rows = slice(max(0, round(top * picture.height) - 1), round((top + height) * picture.height) + 1)
    columns = slice(max(0, round(left * picture.width) - 1), round((left + width) * picture.width) + 1)
    outside[rows, columns] = False
    return outside
