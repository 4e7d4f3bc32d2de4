"""The verdict on two pictures: which kind of pair they are."""

from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from .agreement import Box
from .copy_rules import LEAST_SHARE, PART_CORRELATION, TURN, WHOLE, is_perfect
from .kinds import BURST, CROP, EDITED, FIRST, LOOK_ALIKE, RESIZED, SECOND, Verdict
from .matching import Match, closest
from .picture import Picture

TURNED_WHOLE = 0.85  # the same for a turned picture, whose corners are cut off
SCENE = 0.35  # least fraction of agreeing cells in two shots of one scene
SCENE_INLIERS = 15
COLOUR, BRIGHTNESS = 5.0, 12.0  # of 255, where the copy is clear
HARD_COLOUR = 12.0  # of 255, where it was compressed hard, which changes colours, too
CLEAR, CHANGED = 0.985, 0.06  # a copy is edited if that many of its cells changed, and the others are that clear
PLAIN, PLAIN_RANGE = 0.9, 24  # a border: this fraction of its pixels is within so many levels of their median
FLAT, FLAT_RANGE = 0.8, 6  # a frame: this fraction of its pixels differs from the next one by so few levels at most
BURST_SECONDS = 10

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
        copy = _kind_of_copy(first, second, found)
        # a copy has the time of its original, or none, unless somebody changed it
        perfect = is_perfect(found.agreement) and not found.worsened
        shots = apart is not None and apart >= 1 and not perfect
        if not shots or copy.kind == CROP:
            return copy
    agreeing = 0.0 if found is None else round(found.agreement.agreeing, 3)
    shots = apart <= BURST_SECONDS if apart is not None else found is not None and _is_scene(found)
    return Verdict(BURST if shots else LOOK_ALIKE, agreement=agreeing)


def _is_scene(match: Match) -> bool:
    found = match.agreement
    share = max(found.first_share, found.second_share) >= LEAST_SHARE
    return share and match.alignment.inliers >= SCENE_INLIERS and found.agreeing >= SCENE


def _kind_of_copy(first: Picture, second: Picture, match: Match) -> Verdict:
    alignment, found = match.alignment, match.agreement
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
    if match.edited_part:
        return Verdict(EDITED, ", ".join([*edits, "parts changed"]), agreement=agreeing)
    clear = found.correlation >= CLEAR
    if found.colour > (COLOUR if clear else HARD_COLOUR) or found.brightness > BRIGHTNESS:
        edits.append("colours")
    # where the frames were laid over each other, cells outside the rectangle were changed, or spoiled by compression
    if not alignment.inliers or (whole[0] and whole[1]):
        if clear and found.changed >= CHANGED and not match.worsened:
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
        if found.correlation >= PART_CORRELATION and rest_is_flat(picture, own_box):
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
