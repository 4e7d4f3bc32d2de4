"""Whether the kinds and options that a person asked for go together."""

from collections.abc import Collection as Names

from ...core.errors import UserError
from .problems import KINDS, LABEL_ERROR, LEAK, NEAR_DUPLICATE


def check_kinds(kinds: Names[str]) -> None:
    """Check that all kinds exist.

    Args:
        kinds: The kinds.

    Raises:
        UserError: One does not.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise UserError(f"{kind!r}: no such kind of problem; there are {', '.join(KINDS)}")


def check_asked(kinds: Names[str], *, labels: bool, splits: bool, threshold: bool) -> None:
    """Check that each kind has the option that it needs, and that each option has an effect.

    Args:
        kinds: The kinds that were named; empty means all for which the options suffice.
        labels: Whether ``--labels`` was given.
        splits: Whether ``--splits`` was given.
        threshold: Whether ``--threshold`` was given.

    Raises:
        UserError: A kind is unknown or needs an option, or an option would change nothing.
    """
    check_kinds(kinds)
    if not kinds:
        return
    if LEAK in kinds and not splits:
        raise UserError(f"--kind {LEAK}: add --splits, such as --splits train=./train test=./test")
    if LABEL_ERROR in kinds and not labels:
        raise UserError(f"--kind '{LABEL_ERROR}': add --labels, such as --labels folders")
    if splits and LEAK not in kinds:
        raise UserError(f"--splits: no effect on the kinds that --kind names; add --kind {LEAK}")
    if labels and LABEL_ERROR not in kinds and LEAK not in kinds:
        raise UserError(f"--labels: no effect on the kinds that --kind names; add --kind '{LABEL_ERROR}'")
    if threshold and NEAR_DUPLICATE not in kinds and LEAK not in kinds:
        raise UserError(f"--threshold: no effect on the kinds that --kind names; add --kind {NEAR_DUPLICATE}")


def needed_for(*, labels: bool, splits: bool) -> str:
    """Say which kinds were not looked for without an option.

    Args:
        labels: Whether ``--labels`` was given.
        splits: Whether ``--splits`` was given.

    Returns:
        Text to append to a message; empty if both were given.
    """
    absent = ((LEAK, "--splits", splits), (LABEL_ERROR, "--labels", labels))
    return "".join(f"; a {kind} is looked for with {option} only" for kind, option, given in absent if not given)
