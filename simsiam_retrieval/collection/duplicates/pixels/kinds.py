"""The kinds of pairs, from the same file to pictures that only look alike."""

from typing import NamedTuple

SAME_FILE = "same file"
SAME_PIXELS = "same pixels"
RESIZED = "resized or recompressed"
EDITED = "edited"
CROP = "crop of"
BURST = "burst"
LOOK_ALIKE = "look-alike"
KINDS = (SAME_FILE, SAME_PIXELS, RESIZED, EDITED, CROP, BURST, LOOK_ALIKE)  # the closest first
COPIES = (SAME_FILE, SAME_PIXELS, RESIZED, EDITED, CROP)  # made from the same photo
REPLACEABLE = (SAME_FILE, SAME_PIXELS, RESIZED)  # nothing is lost with the smaller one

FIRST, SECOND = "first", "second"


class Verdict(NamedTuple):
    """What two pictures have to do with each other.

    Attributes:
        kind: One of ``KINDS``.
        detail: What was edited, such as "mirrored, colour"; "" for other kinds.
        part: Of ``crop of``: which of the two is the part, "first" or "second"; else "".
        box: Of ``crop of``: where the part lies in the other one: left, top, width, height as fractions; else None.
        agreement: Fraction of the compared cells that agree, 0 to 1.
    """

    kind: str
    detail: str = ""
    part: str = ""
    box: tuple[float, float, float, float] | None = None
    agreement: float = 0.0

    def turned_round(self) -> "Verdict":
        """Return the verdict on the same two pictures in the other order."""
        return self._replace(part={FIRST: SECOND, SECOND: FIRST}.get(self.part, ""))
