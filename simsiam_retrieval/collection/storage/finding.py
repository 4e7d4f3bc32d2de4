"""A problem found by the check of a collection."""

from pathlib import Path
from typing import NamedTuple


class Finding(NamedTuple):
    """A problem and its repair.

    Attributes:
        subject: The image, or the collection's own file.
        problem: What was wrong.
        repair: What was done.
    """

    subject: Path
    problem: str
    repair: str
