"""Index types by name, and the rule of `auto`. docs/search.md explains it."""

from collections.abc import Sequence

from ...core.errors import UserError

KINDS = ("auto", "flat", "float16", "ivf", "ivf-sq8", "hnsw")
SHARDED_KINDS = ("auto", "ivf", "ivf-sq8", "ivf-pq")  # for a sharded collection; the other types cannot stay on disk
FLAT_UP_TO = 102_400_000  # values in all vectors: 400,000 of 256; a query takes 4 ms of one core
APPROXIMATE_FROM = 2_000  # vectors; an exact search of fewer is always fast


def check_kind(kind: str, kinds: Sequence[str] = KINDS) -> None:
    """Check the name of an index type.

    Args:
        kind: The name.
        kinds: Allowed names.

    Raises:
        UserError: It is not allowed.
    """
    if kind not in kinds:
        raise UserError(f"--index {kind}: choose one of {', '.join(kinds)}")


def choose(kind: str, count: int, dim: int) -> str:
    """Choose the index type.

    "auto" means exact search up to ``FLAT_UP_TO`` values, and inverted lists of 8-bit values beyond. A few vectors
    always get a flat index.

    Args:
        kind: The user's choice.
        count: Number of vectors.
        dim: Values per vector.

    Returns:
        The type, not "auto".
    """
    if kind == "auto":
        return "flat" if count * dim <= FLAT_UP_TO else "ivf-sq8"
    return kind if count >= APPROXIMATE_FROM else "flat"


def removes(kind: str) -> bool:
    """Return whether vectors can be removed from an index of this type.

    Args:
        kind: The type.

    Returns:
        True if they can.
    """
    return kind != "hnsw"  # removing would break paths of the graph
