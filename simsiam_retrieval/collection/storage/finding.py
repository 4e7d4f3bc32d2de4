"""What a check of a collection found."""

from pathlib import Path
from typing import NamedTuple


class Finding(NamedTuple):
    """Something that was wrong."""

    subject: Path  # the image, or the collection's own file
    problem: str
    repair: str
