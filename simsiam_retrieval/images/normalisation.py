"""How pixels are scaled before a network sees them; no torch here."""

from typing import NamedTuple

Channels = tuple[float, ...]  # red, green, blue; or a value for each band of an encoder of other bands


class Normalisation(NamedTuple):
    """x -> (x - mean) / std, per channel, for pixels in [0, 1]."""

    mean: Channels = (0.485, 0.456, 0.406)
    std: Channels = (0.229, 0.224, 0.225)


IMAGENET = Normalisation()  # of ImageNet's training pixels
