"""The rules by which two aligned pictures count as made from the same photo; their numbers."""

from .agreement import Agreement
from .alignment import Alignment

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
LEAST_SHARE, CLEAR_SHARE = 0.3, 0.15  # of the two pictures, one shares at least this; the latter with many features
CLEAR_INLIERS, CLEAR_CELLS, CLEAR_SHARE_CORRELATION = 20, 18, 0.95
# untouched elsewhere: rich cells that are the same, and the fraction of all rich cells and of all cells
UNTOUCHED_CELLS, UNTOUCHED_FRACTION, UNTOUCHED_AREA = 25, 0.4, 0.65
UNTOUCHED_CORRELATION, UNTOUCHED_LIGHT = 0.985, 2.5  # and how equal they are, light of 255
FRAME_SHARE = 0.8  # and both at least this, where whole frames were laid over each other
# fraction of changed cells that copies do not have: aligned by features and not clear; or clear, but not in the cells
# with details in every direction
SHOT_CHANGED, CLEAR_PART_CHANGED = 0.08, 0.06
SHOT_TILT, SHOT_LIGHT = (0.3, 4.0), 3.5  # degrees by which a hand turns a camera, and difference of light, of 255
TURN = 1.0  # degrees
PERFECT = 0.99


def is_untouched_elsewhere(alignment: Alignment, found: Agreement) -> bool:
    """Return whether only a part was changed, as by a text: the rest has equal details, light and colour everywhere.

    Products of one series differ in all of their product. What they share, such as the edges of a frame, is not rich.

    Args:
        alignment: How the two pictures were aligned.
        found: What they have in common.

    Returns:
        True if so.
    """
    part = found.untouched
    tilt = abs((alignment.turned + 45) % 90 - 45)
    whole = min(found.overlap) >= WHOLE and tilt < TURN and not 0 < alignment.inliers < CLEAR_INLIERS
    enough = part.cells >= UNTOUCHED_CELLS and part.fraction >= UNTOUCHED_FRACTION and part.area >= UNTOUCHED_AREA
    return whole and enough and part.correlation >= UNTOUCHED_CORRELATION and part.light <= UNTOUCHED_LIGHT


def is_upright_frame(alignment: Alignment) -> bool:
    """Return whether whole frames were laid over each other, neither turned nor mirrored.

    Args:
        alignment: How two pictures were aligned.

    Returns:
        True if so.
    """
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
        return found.difference <= SOFT_DIFFERENCE and covers(alignment, found)
    upright, recoloured = is_upright_frame(alignment), found.colour > RECOLOURED
    if _is_clear_part(alignment, found):
        return covers(alignment, found)
    if not _is_like_a_copy(alignment, found) or _is_another_shot(alignment, found):
        return False
    if 0 < alignment.inliers < FEW_INLIERS:
        sure = found.agreeing >= AGREEING and found.correlation >= FEW_CORRELATION
        return covers(alignment, found) and sure and found.evidence >= MANY_CELLS
    soft = SOFT_CORRELATION if upright and not recoloured else CORRELATION
    all_of_it = found.agreeing >= AGREEING and found.correlation >= soft
    most_of_it = found.agreeing >= CHANGED_AGREEING and found.correlation >= CHANGED_CORRELATION
    enough = found.evidence >= (SOME_CELLS if recoloured else FEW_CELLS)
    return covers(alignment, found) and ((all_of_it and enough) or (most_of_it and found.evidence >= MANY_CELLS))


def _is_clear_part(alignment: Alignment, found: Agreement) -> bool:
    """Whether pictures share a part that is the same in light and colour; what lies around it may differ."""
    partial = max(found.first_share, found.second_share) < WHOLE and alignment.inliers >= CLEAR_INLIERS
    alike = found.correlation >= PART_CORRELATION and found.agreeing >= PART_AGREEING
    same_light = max(found.colour, found.brightness) <= PART_LIGHT
    return partial and alike and same_light and found.evidence >= MANY_CELLS


def _is_another_shot(alignment: Alignment, found: Agreement) -> bool:
    """Whether something moved, as in two shots of one scene, or only a frame is the same, as in one series."""
    tilt = abs((alignment.turned + 45) % 90 - 45)
    if alignment.inliers and SHOT_TILT[0] <= tilt < SHOT_TILT[1] and found.untouched.light > SHOT_LIGHT:
        return True
    if found.correlation < CHANGED_CORRELATION:
        return alignment.inliers > 0 and found.changed > SHOT_CHANGED
    part = found.untouched
    many = found.changed >= CLEAR_PART_CHANGED and part.cells >= FEW_CELLS
    return many and part.correlation < UNTOUCHED_CORRELATION


def _is_like_a_copy(alignment: Alignment, found: Agreement) -> bool:
    """Whether pixels differ no more than in copies; of slightly turned pictures most are shots of one scene."""
    tilt = abs((alignment.turned + 45) % 90 - 45)
    clear = found.changed <= CLEAR_CHANGED and found.correlation >= CLEAR_EVERYWHERE and tilt < TURN
    return clear or found.difference <= RESIDUE


def covers(alignment: Alignment, found: Agreement) -> bool:
    """Return whether what two pictures share is large enough for copies.

    Args:
        alignment: How they were aligned.
        found: What they have in common.

    Returns:
        True if it is.
    """
    if alignment.inliers:
        clear = alignment.inliers >= CLEAR_INLIERS and found.evidence >= CLEAR_CELLS
        clear = clear and found.correlation >= CLEAR_SHARE_CORRELATION
        return max(found.first_share, found.second_share) >= (CLEAR_SHARE if clear else LEAST_SHARE)
    return min(found.first_share, found.second_share) >= FRAME_SHARE


def is_perfect(found: Agreement) -> bool:
    """Return whether not even the noise of the camera differs, as it does in two shots of one scene.

    Args:
        found: What two pictures have in common.

    Returns:
        True if so.
    """
    return min(found.agreeing, found.correlation) >= PERFECT and found.changed <= 1 - PERFECT
