"""Colour jitter of a batch: brightness, contrast, saturation and hue, each with a factor per image."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .view_parameters import Parameters

GREY = (0.299, 0.587, 0.114)  # ITU-R 601 luma, as in Pillow and torchvision
ALONE_PIXELS = 8_192  # pixels of an image from which jitter processes it alone on a CPU


def luma(x: Tensor) -> Tensor:
    """Compute the grey value of RGB images.

    Args:
        x: float (n, 3, h, w).

    Returns:
        float (n, 1, h, w).
    """
    r, g, b = x.split(1, dim=1)
    return (r * GREY[0]).add_(g, alpha=GREY[1]).add_(b, alpha=GREY[2])


def adjust_brightness(x: Tensor, factor: Tensor) -> Tensor:
    """Blend with black, in place.

    Args:
        x: float (n, c, h, w) in [0, 1].
        factor: float (n,); 1 changes nothing.

    Returns:
        ``x``.
    """
    return x.mul_(factor[:, None, None, None]).clamp_(0, 1)


def adjust_contrast(x: Tensor, factor: Tensor) -> Tensor:
    """Blend with the image's mean grey value, in place; other channels than RGB with the mean of all.

    Args:
        x: float (n, c, h, w) in [0, 1].
        factor: float (n,); 1 changes nothing.

    Returns:
        ``x``.
    """
    means = x.mean(dim=(2, 3))  # means per channel are cheaper than a grey image
    if x.shape[1] != 3:
        mean = means.mean(dim=1)
    else:
        mean = (means[:, 0] * GREY[0]).add_(means[:, 1], alpha=GREY[1]).add_(means[:, 2], alpha=GREY[2])
    return x.mul_(factor[:, None, None, None]).add_((mean * (1 - factor))[:, None, None, None]).clamp_(0, 1)


def adjust_saturation(x: Tensor, factor: Tensor) -> Tensor:
    """Blend with the grey image, in place.

    Args:
        x: float (n, 3, h, w) in [0, 1].
        factor: float (n,); 1 changes nothing.

    Returns:
        ``x``.
    """
    factor = factor[:, None, None, None]
    grey = luma(x).mul_(1 - factor)
    return x.mul_(factor).add_(grey).clamp_(0, 1)


def adjust_hue(x: Tensor, shift: Tensor) -> Tensor:
    """Shift the hue at equal HSV saturation and value, in place.

    Masks are sums of products: on a CPU torch's comparisons and ``where`` take ten times as long as its arithmetic.

    Args:
        x: float (n, 3, h, w) in [0, 1].
        shift: float (n,), in turns.

    Returns:
        ``x``.
    """
    r, g, b = x.unbind(1)
    value, low = torch.maximum(r, g), torch.minimum(r, g)
    torch.maximum(value, b, out=value)
    chroma = value - torch.minimum(low, b, out=low)
    red = torch.eq(value, r, out=low)  # 1.0 if red is the largest
    green = torch.eq(value, g, out=torch.empty_like(value))
    green -= green * red
    # hue in sixths of a turn, times chroma c; largest is blue: 4c + r - g; green: 2c + b - r; red: g - b
    hue = (r - g).add_(chroma, alpha=4)
    if_red, if_green = g - b, (b - r).add_(chroma, alpha=2)
    if_red.sub_(hue).mul_(red)
    hue.add_(if_green.sub_(hue).mul_(green)).add_(if_red)
    hue.mul_(torch.clamp(chroma, min=1e-12, out=red).reciprocal_()).add_(6 * shift[:, None, None])
    distance, turns = green, if_red  # reuses their memory
    for channel in range(3):
        # a channel has its maximum within a sixth of a turn around its own hue, and falls to the minimum in the next
        torch.sub(hue, 2 * channel, out=distance)
        torch.mul(distance, 1 / 6, out=turns).round_()
        distance.sub_(turns, alpha=6).abs_().sub_(1).clamp_(0, 1)
        torch.addcmul(value, chroma, distance, value=-1, out=x[:, channel])
    return x


_JITTER = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)
_OF_COLOURS = (adjust_saturation, adjust_hue)


def jitter(x: Tensor, drawn: Parameters, on_device: Parameters) -> Tensor:
    """Change brightness, contrast, saturation and hue of the drawn images in their drawn order, in place.

    Args:
        x: float (n, c, h, w) in [0, 1]; channels other than RGB keep the two operations that need no colours.
        drawn: Parameters on the CPU.
        on_device: The same parameters on the device of ``x``.

    Returns:
        ``x``.
    """
    for position in range(4):
        for which, operation in enumerate(_JITTER):
            if x.shape[1] != 3 and operation in _OF_COLOURS:
                continue
            chosen = drawn.jitter & (drawn.order[:, position] == which)
            on_subset(
                x,
                chosen,
                lambda part, index, op=operation, which=which: op(part, on_device.factors[index, which]),
                alone=True,
            )
    return x


def on_subset(x: Tensor, chosen: Tensor, operation: Callable[[Tensor, Any], Tensor], *, alone: bool = False) -> None:
    """Apply an operation to some images of a batch.

    Args:
        x: (n, c, h, w); it is changed.
        chosen: bool (n,) on the CPU, to avoid a device sync.
        operation: Called with a part of ``x`` and its index; returns the new part.
        alone: Whether the operation works in place. On a CPU, large images are then processed one by one, because each
            one stays in the processor's cache and needs no copy.
    """
    index = chosen.nonzero()[:, 0]
    if not len(index):
        return
    if alone and x.device.type == "cpu" and x.shape[2] * x.shape[3] >= ALONE_PIXELS:
        for number in index.tolist():
            one = slice(number, number + 1)
            operation(x[one], one)
    else:
        index = index.to(x.device, non_blocking=True)
        x[index] = operation(x[index], index)
