"""The MoCo v2 augmentation of the paper (section 4.1) for whole batches, with parameters per image, on any device.

All random numbers come from a CPU generator. A seed therefore gives the same views on every device, up to rounding. On
a GPU, cropping, resizing, flipping and blurring are products with small matrices per image: exact, antialiased,
batched. On a CPU there are faster ways to the same result.

``view_parameters.py`` draws the random numbers; ``crop_and_resize.py``, ``colour_jitter.py`` and ``gaussian_blur.py``
are the steps.
"""

import functools

import torch
from torch import Tensor

from ..images.normalisation import Normalisation
from .colour_jitter import jitter, luma, on_subset
from .crop_and_resize import crop_by_matrices, crop_one_by_one, pixel_boxes
from .gaussian_blur import gaussian_blur
from .recompress import recompress
from .view_parameters import Augmentation as Augmentation  # with draw and centre what callers need beside apply
from .view_parameters import Parameters as Parameters
from .view_parameters import centre as centre
from .view_parameters import draw as draw

SMALL = 48  # side in pixels up to which one product for all images is faster for cropping, even on a CPU
CACHED_PIXELS = 262_144  # pixels of a group of images that are processed together on a CPU


def apply(settings: Augmentation, images: Tensor, parameters: Parameters) -> Tensor:
    """Make one view of each image.

    Other channels than RGB (c other than 3) vary in brightness and contrast; saturation, hue and grey copies need RGB.

    Args:
        settings: The augmentation.
        images: uint8 (n, c, h, w) on any device; on a CPU channels-last memory format is fastest.
        parameters: From ``draw`` or ``centre``.

    Returns:
        Normalised views, float32 (n, c, image_size, image_size), on the same device, in channels-last memory format.
    """
    size = settings.image_size
    shape = (len(images), images.shape[1], size, size)
    x = torch.empty(shape, device=images.device, memory_format=torch.channels_last, dtype=torch.float32)
    # on a CPU a few images at a time, so that they stay in the processor's cache between operations
    group = max(8, CACHED_PIXELS // size**2) if images.device.type == "cpu" else len(images)
    for start in range(0, len(images), group):
        part = slice(start, start + group)
        _apply(settings, images[part], Parameters(*(tensor[part] for tensor in parameters)), out=x[part])
    return x


def _apply(settings: Augmentation, images: Tensor, drawn: Parameters, out: Tensor) -> None:
    device = images.device
    p = Parameters(*(tensor.to(device, non_blocking=True) for tensor in drawn))
    chosen = (drawn.quality > 0).nonzero()[:, 0]
    if len(chosen):
        index, images = chosen.to(device, non_blocking=True), images.clone()
        images[index] = recompress(images[index], drawn.reduction[chosen], p.quality[index])
    boxes = pixel_boxes(drawn.box, images.shape[2], images.shape[3])
    one_by_one = device.type == "cpu" and images.shape[2] > SMALL
    crop = crop_one_by_one if one_by_one else crop_by_matrices
    x = crop(images, boxes, drawn.flip, settings.image_size)
    x = jitter(x, drawn, p)
    if x.shape[1] == 3:
        on_subset(x, drawn.grey, lambda part, _: luma(part).expand(-1, 3, -1, -1))
    on_subset(x, drawn.sigma > 0, lambda part, index: gaussian_blur(part, p.sigma[index]))
    scale, shift = _channels(settings.normalisation, device)
    x = x.mul_(scale).add_(shift)
    on_subset(x, drawn.hole[:, 2] > 0, lambda part, index: cut_out(part, p.hole[index]))
    out.copy_(x)


@functools.cache
def _channels(normalisation: Normalisation, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return 1 / std and -mean / std, each (c, 1, 1); cached, because creating them on a GPU waits for its work."""
    with torch.inference_mode(False):  # the cached tensors must work in every mode
        mean, std = (torch.tensor(values, device=device)[:, None, None] for values in normalisation)
        return 1 / std, -mean / std


def cut_out(x: Tensor, hole: Tensor) -> Tensor:
    """Blank a square of each view with zero, which is the mean colour after normalisation.

    Args:
        x: float (n, c, s, s).
        hole: float (n, 3): left, top and side in units of the view's side; rounded to whole pixels.

    Returns:
        float (n, c, s, s).
    """
    size = x.shape[3]
    left, top, side = (hole * size).round().unbind(1)
    pixel = torch.arange(size, device=x.device)
    columns, rows = ((pixel >= start[:, None]) & (pixel < (start + side)[:, None]) for start in (left, top))
    return x.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0.0)
