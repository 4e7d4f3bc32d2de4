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
    largest_difference: float  # over all components of all unit vectors
    mean_difference: float
    smallest_cosine: float  # of an image's two vectors; 1 is equal

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def measure(backbone: nn.Module, encoder: Encoder, files: Sequence[Path]) -> Parity:
    """Embed ``files`` both ways, whole images through the graph one by one, and compare.

    The torch side does its own cropping and resampling (Pillow), so the graph's preprocessing is under test too.
    """
    module = UnitVectors(backbone).eval()
    ours, theirs = [], []
    for file in files:
        image = decode(file, short_side=2 * encoder.image_size)
        square = np.asarray(centre_square(image, encoder.image_size))
        with torch.inference_mode():
            pixels = torch.from_numpy(square.astype(np.float32)).permute(2, 0, 1)[None]
            ours.append(module(pixels)[0].numpy())
        theirs.append(encoder.embed_pixels(np.asarray(image)[None])[0])
    a, b = np.stack(ours), np.stack(theirs)
    difference = np.abs(a - b)
    return Parity(
        images=len(a),
        largest_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        smallest_cosine=float((a * b).sum(axis=1).min()),
    )
