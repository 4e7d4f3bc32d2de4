"""What is random in a view: the settings of the augmentation, and the parameters that are drawn for each image."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..images.centre_crop import LONG
from ..images.normalisation import IMAGENET, Normalisation
from .recompress import QUALITY, REDUCTIONS


@dataclass(frozen=True)
class Augmentation:
    """Settings of the random views; the defaults are the paper's for 224 px.

    Attributes:
        image_size: Side of a view in pixels.
        min_scale: Smallest crop, as a fraction of the image's area.
        max_scale: Largest crop, as a fraction of the image's area.
        brightness: Strength of the jitter.
        contrast: Strength of the jitter.
        saturation: Strength of the jitter.
        hue: Strength of the jitter, as a fraction of a turn.
        jitter_probability: Probability of colour jitter.
        grey_probability: Probability of a grey image.
        blur_probability: Probability of Gaussian blur.
        blur_sigma: Range of the blur's sigma, in pixels of the view.
        flip_probability: Probability of a mirror image.
        cutout: Side of a square that is blanked, as a fraction of the view's side; 0 for none.
        recompress_probability: Probability of a picture that was made smaller and compressed before it is cropped.
        normalisation: Normalisation of the pixels.
    """

    image_size: int = 224
    min_scale: float = 0.2
    max_scale: float = 1.0
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    jitter_probability: float = 0.8
    grey_probability: float = 0.2
    blur_probability: float = 0.5
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    flip_probability: float = 0.5
    cutout: float = 0.0
    recompress_probability: float = 0.0
    normalisation: Normalisation = IMAGENET


class Parameters(NamedTuple):
    """The random parameters of n images; CPU tensors.

    Attributes:
        box: float (n, 4): left, top, width, height, in units of the image's width and height.
        flip: bool (n,).
        jitter: bool (n,).
        order: int64 (n, 4): which of brightness, contrast, saturation, hue comes 1st ... 4th.
        factors: float (n, 4): factors of brightness, contrast and saturation; hue shift as a fraction of a turn.
        grey: bool (n,).
        sigma: float (n,): 0 for no blur.
        hole: float (n, 3): left, top, side of a blank square, in units of the view's side; side 0 for none.
        quality: float (n,): JPEG quality; 0 for pictures that are not recompressed.
        reduction: float (n,): how many times smaller those become.
    """

    box: Tensor
    flip: Tensor
    jitter: Tensor
    order: Tensor
    factors: Tensor
    grey: Tensor
    sigma: Tensor
    hole: Tensor
    quality: Tensor
    reduction: Tensor


def draw(settings: Augmentation, aspect: Tensor, generator: torch.Generator) -> Parameters:
    """Draw the random parameters of a batch.

    Args:
        settings: The augmentation.
        aspect: Width / height of each image, float (n,).
        generator: CPU generator.

    Returns:
        The parameters.
    """
    n = len(aspect)

    def uniform(low: float, high: float, shape: tuple[int, ...] = (n,)) -> Tensor:
        return torch.empty(shape).uniform_(low, high, generator=generator)

    factors = torch.stack(
        [
            *(
                uniform(max(0.0, 1 - strength), 1 + strength)
                for strength in (settings.brightness, settings.contrast, settings.saturation)
            ),
            uniform(-settings.hue, settings.hue),
        ],
        dim=1,
    )
    blurred = uniform(0, 1) < settings.blur_probability
    return Parameters(
        box=_draw_boxes(aspect, (settings.min_scale, settings.max_scale), uniform),
        flip=uniform(0, 1) < settings.flip_probability,
        jitter=uniform(0, 1) < settings.jitter_probability,
        order=uniform(0, 1, (n, 4)).argsort(dim=1),
        factors=factors,
        grey=uniform(0, 1) < settings.grey_probability,
        sigma=torch.where(blurred, uniform(*settings.blur_sigma), 0.0),
        # drawn last, so that all other parameters are the same as without holes and without recompression
        hole=_draw_holes(n, settings.cutout, uniform),
        **_draw_compression(n, settings.recompress_probability, uniform),
    )


def _draw_holes(n: int, side: float, uniform) -> Tensor:
    """Squares of the given side at random positions within the views."""
    if not side:
        return torch.zeros(n, 3)
    corner = uniform(0, 1, (n, 2)) * (1 - side)
    return torch.cat([corner, torch.full((n, 1), side)], dim=1)


def _draw_compression(n: int, probability: float, uniform) -> dict[str, Tensor]:
    if not probability:
        return {"quality": torch.zeros(n), "reduction": torch.ones(n)}
    chosen = uniform(0, 1) < probability
    number = (uniform(0, 1) * len(REDUCTIONS)).long().clamp(max=len(REDUCTIONS) - 1)
    return {
        "quality": torch.where(chosen, uniform(*QUALITY), 0.0),
        "reduction": torch.tensor(REDUCTIONS)[number],
    }


def _draw_boxes(aspect: Tensor, scale: tuple[float, float], uniform, tries: int = 10) -> Tensor:
    """RandomResizedCrop's boxes: area within ``scale``, ratio log-uniform in [3/4, 4/3], ten tries, then the centre."""
    n = len(aspect)
    area = uniform(*scale, (tries, n))
    ratio = torch.exp(uniform(math.log(3 / 4), math.log(4 / 3), (tries, n)))
    # in units of the image's own sides: crop width/height over image width/height is ratio/aspect
    width = (area * ratio / aspect).sqrt()
    height = (area / ratio * aspect).sqrt()
    fits = (width <= 1) & (height <= 1)
    first = fits.int().argmax(dim=0, keepdim=True)
    width, height = width.gather(0, first)[0], height.gather(0, first)[0]
    none = ~fits.any(dim=0)
    limited = aspect.clamp(3 / 4, 4 / 3)  # fallback: the largest crop with a ratio in range
    width = torch.where(none, (limited / aspect).clamp(max=1), width)
    height = torch.where(none, (aspect / limited).clamp(max=1), height)
    left = torch.where(none, (1 - width) / 2, uniform(0, 1) * (1 - width))
    top = torch.where(none, (1 - height) / 2, uniform(0, 1) * (1 - height))
    return torch.stack([left, top, width, height], dim=1)


def centre(aspect: Tensor) -> Parameters:
    """Return parameters for what an encoder sees: the largest centred square, or the whole of a long picture.

    Args:
        aspect: Width / height of each image, float (n,).

    Returns:
        The parameters.
    """
    n, no = len(aspect), torch.zeros(len(aspect), dtype=torch.bool)
    long = torch.maximum(aspect, 1 / aspect) > LONG
    width, height = (torch.where(long, 1.0, side.clamp(max=1)) for side in (1 / aspect, aspect))
    return Parameters(
        box=torch.stack([(1 - width) / 2, (1 - height) / 2, width, height], dim=1),
        flip=no,
        jitter=no,
        order=torch.arange(4).expand(n, 4),
        factors=torch.ones(n, 4),
        grey=no,
        sigma=torch.zeros(n),
        hole=torch.zeros(n, 3),
        quality=torch.zeros(n),
        reduction=torch.ones(n),
    )
