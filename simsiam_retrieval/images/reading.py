"""How the files of a collection or run become pixels: which values are black and white, and which bands are used."""

import dataclasses
import json
import re
from dataclasses import dataclass

from ..core.errors import UserError

AUTO, PER_IMAGE = "auto", "per-image"
MOST_BANDS = 512

Range = str | tuple[float, float]  # "auto", "per-image", or the values of black and white


@dataclass(frozen=True)
class Reading:
    """How files are read for training, indexing and queries. JPEGs and other 8-bit pictures are not affected.

    Attributes:
        range: For samples of more than 8 bits: "auto", "per-image", or one range for all images (see ``parse_range``).
        bands: Bands of TIFFs, from 1, in the order in which they are used; empty for all bands.
        channels: Channels that the encoder takes; 3 is RGB.
    """

    range: Range = AUTO
    bands: tuple[int, ...] = ()
    channels: int = 3

    @property
    def is_rgb(self) -> bool:
        """Whether the result is RGB, from whatever bands."""
        return self.channels == 3

    @property
    def wants_bands(self) -> bool:
        """Whether bands of TIFFs are selected, or all are needed."""
        return bool(self.bands) or not self.is_rgb

    def check(self) -> None:
        """Check that bands and channels fit each other.

        Raises:
            UserError: They do not.
        """
        if not 1 <= self.channels <= MOST_BANDS:
            raise UserError(f"--channels {self.channels} is out of range; give 1 to {MOST_BANDS}")
        count = len(self.bands)
        if self.is_rgb and count not in (0, 1, 3):
            raise UserError(f"--bands {band_text(self.bands)}: {count} bands; give three (or one, shown as grey)")
        if not self.is_rgb and count not in (0, self.channels):
            raise UserError(f"--bands {band_text(self.bands)}: {count} bands, but the encoder takes {self.channels}")

    def text(self) -> str:
        """Return the text for a catalog or an encoder's metadata.

        Returns:
            JSON.
        """
        return json.dumps({"range": self.range, "bands": self.bands, "channels": self.channels})

    @classmethod
    def of(cls, text: str | None) -> "Reading":
        """Read the text of ``text``.

        Args:
            text: The text; None for the default.

        Returns:
            The settings.

        Raises:
            UserError: The text is something else.
        """
        if text is None:
            return cls()
        try:
            values = json.loads(text)
            stored = values["range"]
            limits = (float(stored[0]), float(stored[1])) if isinstance(stored, list) else str(stored)
            reading = cls(limits, tuple(int(band) for band in values["bands"]), int(values["channels"]))
            if limits not in (AUTO, PER_IMAGE) and not isinstance(limits, tuple):
                raise ValueError
        except (ValueError, TypeError, KeyError, IndexError, AttributeError):
            raise UserError("how its files are read is written in a way that this version does not know") from None
        reading.check()
        return reading

    def changed(self, *, range: str | None = None, bands: str | None = None) -> "Reading":
        """Apply options that a user gave.

        Args:
            range: Value of ``--range``; None for no change.
            bands: Value of ``--bands``; None for no change.

        Returns:
            The new settings.

        Raises:
            UserError: A value is wrong.
        """
        changed = dataclasses.replace(
            self,
            range=self.range if range is None else parse_range(range),
            bands=self.bands if bands is None else parse_bands(bands),
        )
        changed.check()
        return changed

    def described(self) -> dict[str, str]:
        """Return the settings that differ from the default.

        Returns:
            Name of the option -> value.
        """
        said = {}
        if self.range != AUTO:
            said["range"] = range_text(self.range)
        if self.bands:
            said["bands"] = band_text(self.bands)
        if not self.is_rgb:
            said["channels"] = str(self.channels)
        return said


def parse_range(text: str) -> Range:
    """Parse ``--range``.

    Args:
        text: "auto", "per-image", "LOW HIGH" or "LOW,HIGH".

    Returns:
        The range.

    Raises:
        UserError: The text is something else.
    """
    if text in (AUTO, PER_IMAGE):
        return text
    try:
        low, high = (float(part) for part in re.split(r"[,\s]+", text.strip()))
    except ValueError:
        raise UserError(f"--range {text}: give auto, per-image, or two numbers: --range LOW HIGH") from None
    if not (low < high and abs(low) < 1e300 and abs(high) < 1e300):
        raise UserError(f"--range {text}: the first number is black, the second white; give a smaller and a larger one")
    return low, high


def range_text(given: Range) -> str:
    """Format a range as a user types it.

    Args:
        given: The range.

    Returns:
        The text.
    """
    return given if isinstance(given, str) else f"{given[0]:.12g} {given[1]:.12g}"


def parse_bands(text: str) -> tuple[int, ...]:
    """Parse ``--bands``.

    Args:
        text: For example "4,3,2"; "all" selects none in particular.

    Returns:
        The bands.

    Raises:
        UserError: The text is something else.
    """
    if text in ("", "all"):
        return ()
    try:
        bands = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"--bands {text}: give the numbers of bands, such as 4,3,2; the first band is 1") from None
    if not all(1 <= band <= MOST_BANDS for band in bands) or len(bands) > MOST_BANDS:
        raise UserError(f"--bands {text}: bands are counted from 1 to {MOST_BANDS}")
    return bands


def band_text(bands: tuple[int, ...]) -> str:
    """Format bands as a user types them.

    Args:
        bands: The bands.

    Returns:
        The text.
    """
    return ",".join(map(str, bands))


def join_range(argv: list[str]) -> list[str]:
    """Join ``--range LOW HIGH`` to one word, so that the next word is not taken for a number.

    Args:
        argv: The command line.

    Returns:
        The new command line.
    """
    joined: list[str] = []
    words = iter(argv)
    for word in words:
        if word != "--range":
            joined.append(word)
            continue
        first = next(words, None)
        if first is None or first in (AUTO, PER_IMAGE) or "," in first or first.startswith("--"):
            joined += [word] if first is None else [f"{word}={first}"] if not first.startswith("--") else [word, first]
            continue
        second = next(words, None)
        joined.append(f"{word}={first}" if second is None else f"{word}={first} {second}")
    return joined


AS_THEY_ARE = Reading()
