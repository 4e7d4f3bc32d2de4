"""Random views of images, the same for every extractor: for measures of how well an image's views agree."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..images.normalisation import Normalisation
from ..training.augmentation import Augmentation, apply, draw
from ..training.pixel_store import ImageStore
from .extractors import Extractor, unit_rows


def view_features(extractor: Extractor, store: ImageStore, views: int, seed: int = 0) -> Tensor:
    """Compute the features of random views (SimSiam's augmentation).

    Args:
        extractor: The extractor.
        store: The images.
        views: Views per image.
        seed: View i uses seed ``seed + i``, so crops, flips and colours are the same for every extractor.

    Returns:
        Unit rows, float32 (n, views, d).
    """
    found = [unit_rows(extractor.embed_squares(squares)) for squares in _views(extractor.side, store, views, seed)]
    return torch.stack(found, dim=1)


def _views(side: int, store: ImageStore, views: int, seed: int) -> Iterator[NDArray[np.uint8]]:
    scale = side / 224  # the blur's sigma is defined for views of 224 px
    channels = store.pixels.shape[3]
    plain = Normalisation((0.0,) * channels, (1.0,) * channels)  # squares are normalised by whoever embeds them
    settings = Augmentation(side, blur_sigma=(0.1 * scale, 2.0 * scale), normalisation=plain)
    pixels, aspect = torch.from_numpy(store.take(np.arange(len(store)))), torch.from_numpy(store.aspect)
    for view in range(views):
        x = apply(settings, pixels, draw(settings, aspect, torch.Generator().manual_seed(seed + view)))
        squares = x.mul(255).round().clamp(0, 255).byte()
        yield squares.permute(0, 2, 3, 1).contiguous().numpy()
