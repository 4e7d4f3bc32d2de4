"""The alignment at which two pictures have the most in common."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from .agreement import Agreement, agreement
from .alignment import Alignment, by_features, over_the_frame
from .blurring import SOFTER, blurred_like, softness
from .compression import BLOCKY, blockiness, compressed_like
from .copy_rules import SOME_CELLS, covers, is_copy, is_untouched_elsewhere, is_upright_frame
from .picture import Picture
from .worsened import Worsened

# what is left of the difference of two pictures when one is compressed or blurred as the other one, and how they agree
LEFT, LEFT_AGREEING, LEFT_CORRELATION = 0.5, 0.93, 0.95


class Match(NamedTuple):
    """An alignment of two pictures, and what they have in common there.

    Attributes:
        alignment: Where the second one lies on the first one.
        agreement: What they have in common.
        copy: Whether they are copies.
        edited_part: Whether they are copies of which only a part was changed.
        worsened: Whether one had to be compressed or blurred as the other one to see that.
    """

    alignment: Alignment
    agreement: Agreement
    copy: bool
    edited_part: bool = False
    worsened: bool = False


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
    for match in itertools.chain(
        _matches(first, second, frames),
        _worsened(first, second, frames),
        _matches(first, second, by_features(first, second)),
    ):
        found = match.agreement
        if best is None or (match.copy, found.evidence) > (best.copy, best.agreement.evidence):
            best = match
        if best.copy:
            break
    return best


def _matches(first: Picture, second: Picture, alignments: Iterable[Alignment]) -> Iterator[Match]:
    for alignment in alignments:
        found = agreement(first, second, alignment)
        if found is not None:
            copy = is_copy(alignment, found)
            edited_part = not copy and is_untouched_elsewhere(alignment, found)
            yield Match(alignment, found, copy or edited_part, edited_part)


def _worsened(first: Picture, second: Picture, frames: Iterable[Alignment]) -> Iterator[Match]:
    """A match of two pictures of which one is the other one after hard compression or blur, if it is."""
    if not any(map(is_upright_frame, frames)):
        return
    blocks = blockiness(first), blockiness(second)
    if max(blocks) >= BLOCKY:
        yield from _worsened_by(compressed_like, first, second, turned=blocks[0] > blocks[1])
    soft = softness(first, second)
    if min(soft, 1 / max(soft, 1e-3)) <= SOFTER:
        yield from _worsened_by(blurred_like, first, second, turned=soft > 1)


def _worsened_by(
    worsen: Callable[[Picture, Picture], Worsened], first: Picture, second: Picture, *, turned: bool
) -> Iterator[Match]:
    """A match after the second picture's fault, or with ``turned`` the first one's, was given to the other one."""
    made = worsen(second, first) if turned else worsen(first, second)
    if made.after > LEFT * made.before:
        return
    pair = (first, made.picture) if turned else (made.picture, second)
    for match in _matches(*pair, filter(is_upright_frame, over_the_frame(*pair))):
        found = match.agreement
        alike = found.agreeing >= LEFT_AGREEING and found.correlation >= LEFT_CORRELATION
        if alike and found.evidence >= SOME_CELLS and covers(match.alignment, found):
            yield match._replace(copy=True, edited_part=False, worsened=True)
