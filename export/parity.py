"""Does the exported graph give what the torch model gives? Measured on real images before a file is kept."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from simsiam_retrieval.encoder import Encoder
from simsiam_retrieval.images.decode import centre_square, decode

from .graph import UnitVectors


@dataclass(frozen=True)
class Parity:
    """Differences between the torch model and the exported file over ``images`` images."""

    images: int
    largest_difference: float  # over all components of all unit vectors, from the same pixels
    mean_difference: float
    smallest_cosine: float  # of an image's two vectors, from the same pixels; 1 is equal
    smallest_cosine_whole: float  # the same where the graph crops and resamples the whole image itself

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def measure(backbone: nn.Module, encoder: Encoder, files: Sequence[Path]) -> Parity:
    """Embed ``files`` both ways and compare: from squares that Pillow made, and from whole images.

    The graph's resampling equals Pillow's but for a grey level here and there, which the second comparison shows.
    """
    module = UnitVectors(backbone).eval()
    ours, theirs, whole = [], [], []
    for file in files:
        image = decode(file, short_side=encoder.decode_side)
        square = np.asarray(centre_square(image, encoder.image_size))
        with torch.inference_mode():
            pixels = torch.from_numpy(square.astype(np.float32)).permute(2, 0, 1)[None]
            ours.append(module(pixels)[0].numpy())
        theirs.append(encoder.embed_pixels(square[None])[0])
        whole.append(encoder.embed_pixels(np.asarray(image)[None])[0])
    a, b, c = np.stack(ours), np.stack(theirs), np.stack(whole)
    difference = np.abs(a - b)
    return Parity(
        images=len(a),
        largest_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        smallest_cosine=float((a * b).sum(axis=1).min()),
        smallest_cosine_whole=float((a * c).sum(axis=1).min()),
    )
