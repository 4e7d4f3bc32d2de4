"""The alignment at which two pictures have the most in common."""

import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from .agreement import Agreement, agreement
from .alignment import Alignment, by_features, over_the_frame
from .compression import BLOCKY, blockiness, compressed_like
from .copy_rules import SOME_CELLS, covers, is_copy, is_untouched_elsewhere, is_upright_frame
from .picture import Picture

# compressed hard: what is left of the difference of two pictures when one is compressed as the other one
SQUEEZED, SQUEEZED_AGREEING, SQUEEZED_CORRELATION = 0.5, 0.93, 0.95


class Match(NamedTuple):
    """An alignment of two pictures, and what they have in common there.

    Attributes:
        alignment: Where the second one lies on the first one.
        agreement: What they have in common.
        copy: Whether they are copies.
        edited_part: Whether they are copies of which only a part was changed.
        squeezed: Whether one had to be compressed as hard as the other one to see that.
    """

    alignment: Alignment
    agreement: Agreement
    copy: bool
    edited_part: bool = False
    squeezed: bool = False


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
        _squeezed(first, second, frames),
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


def _squeezed(first: Picture, second: Picture, frames: Iterable[Alignment]) -> Iterator[Match]:
    """A match of two pictures of which one is the other one after hard compression, if it is."""
    if not any(map(is_upright_frame, frames)):
        return
    blocks = blockiness(first), blockiness(second)
    if max(blocks) < BLOCKY:
        return
    clear, hard = (first, second) if blocks[1] >= blocks[0] else (second, first)
    compressed = compressed_like(clear, hard)
    if compressed.after > SQUEEZED * compressed.before:
        return
    pair = (compressed.picture, second) if hard is second else (first, compressed.picture)
    for match in _matches(*pair, filter(is_upright_frame, over_the_frame(*pair))):
        found = match.agreement
        alike = found.agreeing >= SQUEEZED_AGREEING and found.correlation >= SQUEEZED_CORRELATION
        if alike and found.evidence >= SOME_CELLS and covers(match.alignment, found):
            yield match._replace(copy=True, edited_part=False, squeezed=True)
