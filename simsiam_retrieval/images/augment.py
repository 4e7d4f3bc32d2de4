"""The MoCo v2 augmentation of the paper (section 4.1) on whole batches, with parameters per image, on any device.

All random numbers come from a CPU generator, so a seed gives the same views on every device. Cropping, resizing,
flipping and blurring are products with small per-image matrices: exact, antialiased and batched.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

MEAN = (0.485, 0.456, 0.406)  # of ImageNet's training pixels; every encoder here is normalised with these
STD = (0.229, 0.224, 0.225)
GREY = (0.299, 0.587, 0.114)  # ITU-R 601 luma, as in Pillow and torchvision


@dataclass(frozen=True)
class Augmentation:
    """What varies between two views; the defaults are the paper's for 224 px."""

    image_size: int = 224
    min_scale: float = 0.2  # smallest crop, as a part of the image's area
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    jitter_probability: float = 0.8
    grey_probability: float = 0.2
    blur_probability: float = 0.5
    blur_sigma: tuple[float, float] = (0.1, 2.0)  # pixels of the output
    flip_probability: float = 0.5


class Parameters(NamedTuple):
    """One draw for a batch of n images; CPU tensors."""

    box: Tensor  # float (n, 4): left, top, width, height in units of the image's width and height
    flip: Tensor  # bool (n,)
    jitter: Tensor  # bool (n,)
    order: Tensor  # int64 (n, 4): which of brightness, contrast, saturation, hue comes 1st ... 4th
    factors: Tensor  # float (n, 4): brightness, contrast, saturation factors, hue shift (part of a turn)
    grey: Tensor  # bool (n,)
    sigma: Tensor  # float (n,), 0 for no blur


def draw(settings: Augmentation, aspect: Tensor, generator: torch.Generator) -> Parameters:
    """Draw parameters for images of the given width/height ratios, (n,)."""
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
        box=_draw_boxes(aspect, settings.min_scale, uniform),
        flip=uniform(0, 1) < settings.flip_probability,
        jitter=uniform(0, 1) < settings.jitter_probability,
        order=uniform(0, 1, (n, 4)).argsort(dim=1),
        factors=factors,
        grey=uniform(0, 1) < settings.grey_probability,
        sigma=torch.where(blurred, uniform(*settings.blur_sigma), 0.0),
    )


def _draw_boxes(aspect: Tensor, min_scale: float, uniform, tries: int = 10) -> Tensor:
    """RandomResizedCrop's boxes: area in [min_scale, 1], ratio log-uniform in [3/4, 4/3], ten tries, else centre."""
    n = len(aspect)
    area = uniform(min_scale, 1, (tries, n))
    ratio = torch.exp(uniform(math.log(3 / 4), math.log(4 / 3), (tries, n)))
    # in units of the image's own sides: crop width/height over image width/height is ratio/aspect
    width = (area * ratio / aspect).sqrt()
    height = (area / ratio * aspect).sqrt()
    fits = (width <= 1) & (height <= 1)
    first = fits.int().argmax(dim=0, keepdim=True)
    width, height = width.gather(0, first)[0], height.gather(0, first)[0]
    none = ~fits.any(dim=0)
    limited = aspect.clamp(3 / 4, 4 / 3)  # the fallback keeps as much of the image as a ratio in range allows
    width = torch.where(none, (limited / aspect).clamp(max=1), width)
    height = torch.where(none, (aspect / limited).clamp(max=1), height)
    left = torch.where(none, (1 - width) / 2, uniform(0, 1) * (1 - width))
    top = torch.where(none, (1 - height) / 2, uniform(0, 1) * (1 - height))
    return torch.stack([left, top, width, height], dim=1)


def centre(aspect: Tensor) -> Parameters:
    """Parameters of the largest centred square of each image, otherwise as it is: what an encoder sees."""
    n, no = len(aspect), torch.zeros(len(aspect), dtype=torch.bool)
    width, height = (1 / aspect).clamp(max=1), aspect.clamp(max=1)
    return Parameters(
        box=torch.stack([(1 - width) / 2, (1 - height) / 2, width, height], dim=1),
        flip=no,
        jitter=no,
        order=torch.arange(4).expand(n, 4),
        factors=torch.ones(n, 4),
        grey=no,
        sigma=torch.zeros(n),
    )


def apply(settings: Augmentation, images: Tensor, parameters: Parameters) -> Tensor:
    """Make one view of each image.

    ``images``: uint8 (n, 3, h, w) on any device. Returns float32 (n, 3, image_size, image_size), normalised, on
    the same device, channels last in memory.
    """
    device = images.device
    p = Parameters(*(tensor.to(device, non_blocking=True) for tensor in parameters))
    size = settings.image_size
    rows = resize_matrix(p.box[:, 1], p.box[:, 3], images.shape[2], size)
    columns = resize_matrix(p.box[:, 0], p.box[:, 2], images.shape[3], size)
    columns = torch.where(p.flip[:, None, None], columns.flip(1), columns)
    x = images.float().div_(255)
    x = torch.einsum("nyh,nchw->ncyw", rows, x)
    x = torch.einsum("nxw,ncyw->ncyx", columns, x)
    x = _jitter(x, parameters, p)
    _on_subset(x, parameters.grey, lambda part, _: luma(part).expand(-1, 3, -1, -1))
    _on_subset(x, parameters.sigma > 0, lambda part, index: gaussian_blur(part, p.sigma[index]))
    mean, std = (torch.tensor(values, device=device)[:, None, None] for values in (MEAN, STD))
    return x.sub_(mean).div_(std).contiguous(memory_format=torch.channels_last)


def resize_matrix(start: Tensor, length: Tensor, size_in: int, size_out: int) -> Tensor:
    """Antialiased bilinear resampling of a crop along one axis, as a matrix per image.

    ``start``, ``length``: (n,), in units of the axis. Returns float32 (n, size_out, size_in); its rows sum to 1.
    The filter is the triangle of Pillow and of torchvision's ``antialias=True``: as wide as an output pixel when
    shrinking, as an input pixel when enlarging, and cut off at the crop's borders.
    """
    start, length = (start * size_in)[:, None, None], (length * size_in)[:, None, None]
    scale = length / size_out
    support = scale.clamp(min=1)
    centre = start + (torch.arange(size_out, device=start.device)[None, :, None] + 0.5) * scale
    pixel = torch.arange(size_in, device=start.device)[None, None, :] + 0.5
    weight = (1 - (pixel - centre).abs() / support).clamp(min=0)
    # a crop that starts inside a pixel keeps that pixel
    weight = weight * ((pixel + 0.5 > start) & (pixel - 0.5 < start + length))
    return weight / weight.sum(dim=2, keepdim=True)


def luma(x: Tensor) -> Tensor:
    """Grey value of RGB images: (n, 3, h, w) -> (n, 1, h, w)."""
    r, g, b = x.unbind(1)
    return (GREY[0] * r + GREY[1] * g + GREY[2] * b)[:, None]


def adjust_brightness(x: Tensor, factor: Tensor) -> Tensor:
    """Blend with black; ``x`` in [0, 1], ``factor`` (n,)."""
    return (x * factor[:, None, None, None]).clamp_(0, 1)


def adjust_contrast(x: Tensor, factor: Tensor) -> Tensor:
    """Blend with the image's mean grey value."""
    factor = factor[:, None, None, None]
    mean = luma(x).mean(dim=(1, 2, 3), keepdim=True)
    return (x * factor).add_(mean * (1 - factor)).clamp_(0, 1)


def adjust_saturation(x: Tensor, factor: Tensor) -> Tensor:
    """Blend with the grey image."""
    factor = factor[:, None, None, None]
    return (x * factor).add_(luma(x) * (1 - factor)).clamp_(0, 1)


def adjust_hue(x: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue by ``shift`` (n,), in turns, at equal HSV saturation and value."""
    r, g, b = x.unbind(1)
    value, low = x.amax(1), x.amin(1)
    chroma = value - low
    divisor = torch.where(chroma > 0, chroma, 1.0)
    hue = torch.where(
        value == r,
        (g - b) / divisor,
        torch.where(value == g, (b - r) / divisor + 2, (r - g) / divisor + 4),
    )
    hue = hue + 6 * shift[:, None, None]  # sixths of a turn
    channels = []
    for offset in (5.0, 3.0, 1.0):  # closed form of HSV -> RGB
        k = (hue + offset).remainder(6)
        channels.append(value - chroma * torch.minimum(k, 4 - k).clamp_(0, 1))
    return torch.stack(channels, dim=1)


_JITTER = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)


def _jitter(x: Tensor, drawn: Parameters, on_device: Parameters) -> Tensor:
    for position in range(4):
        for which, operation in enumerate(_JITTER):
            chosen = drawn.jitter & (drawn.order[:, position] == which)
            _on_subset(
                x,
                chosen,
                lambda part, index, op=operation, which=which: op(part, on_device.factors[index, which]),
            )
    return x


def _on_subset(x: Tensor, chosen: Tensor, operation) -> None:
    """Apply ``operation(part, index)`` in place to the chosen images; ``chosen`` lives on the CPU: no device sync."""
    index = chosen.nonzero()[:, 0].to(x.device, non_blocking=True)
    if len(index):
        x[index] = operation(x[index], index)


def gaussian_blur(x: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur with a sigma per image, in pixels, borders reflected.

    ``x``: (n, c, h, w); ``sigma``: (n,), > 0. Kernels reach 6 pixels to each side: 3 sigma at the paper's largest, 2.
    """
    rows, columns = (_blur_matrix(sigma, size) for size in x.shape[2:])
    x = torch.einsum("nyh,nchw->ncyw", rows, x)
    return torch.einsum("nxw,ncyw->ncyx", columns, x)


def _blur_matrix(sigma: Tensor, size: int) -> Tensor:
    radius = min(6, size - 1)  # 3 sigma at the paper's largest sigma of 2
    offset = torch.arange(-radius, radius + 1, device=sigma.device)
    kernel = torch.exp(-(offset**2) / (2 * sigma[:, None] ** 2))
    kernel = kernel / kernel.sum(dim=1, keepdim=True)
    source = torch.arange(size, device=sigma.device)[:, None] + offset[None, :]
    source = source.abs()
    source = torch.where(source > size - 1, 2 * (size - 1) - source, source)
    matrix = torch.zeros(len(sigma), size, size, device=sigma.device)
    index = source[None].expand(len(sigma), -1, -1)
    return matrix.scatter_add_(2, index, kernel[:, None, :].expand(-1, size, -1).contiguous())
