"""How pixels are normalised before a network sees them. Imports no torch."""

from typing import NamedTuple

Channels = tuple[float, ...]  # red, green, blue; or a value for each band of an encoder of other bands


class Normalisation(NamedTuple):
    """x -> (x - mean) / std, per channel, for pixels in [0, 1].

    Attributes:
        mean: Red, green, blue.
        std: Red, green, blue.
    """

    mean: Channels = (0.485, 0.456, 0.406)
    std: Channels = (0.229, 0.224, 0.225)


IMAGENET = Normalisation()  # statistics of ImageNet's training pixels
