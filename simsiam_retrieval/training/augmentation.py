"""The MoCo v2 augmentation of the paper (section 4.1) for whole batches, with parameters per image, on any device.

All random numbers come from a CPU generator. A seed therefore gives the same views on every device, up to rounding. On
a GPU, cropping, resizing, flipping and blurring are products with small matrices per image: exact, antialiased,
batched. On a CPU there are faster ways to the same result.
"""

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..images.decode import LONG
from ..images.normalisation import IMAGENET, Normalisation
from .recompress import QUALITY, REDUCTIONS, recompress

GREY = (0.299, 0.587, 0.114)  # ITU-R 601 luma, as in Pillow and torchvision
RADIUS = 6  # radius of the blur's kernel in pixels: 3 sigma for the paper's largest sigma of 2
SMALL = 48  # side in pixels up to which one product for all images is faster for cropping, even on a CPU
CACHED_PIXELS = 262_144  # pixels of a group of images that are processed together on a CPU
ALONE_PIXELS = 8_192  # pixels of an image from which jitter processes it alone on a CPU


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
    if len(index := (drawn.quality > 0).nonzero()[:, 0]):
        images = images.clone()
        images[index.to(device)] = recompress(images[index.to(device)], drawn.reduction[index], p.quality[index.to(device)])
    boxes = pixel_boxes(drawn.box, images.shape[2], images.shape[3])
    one_by_one = device.type == "cpu" and images.shape[2] > SMALL
    crop = crop_one_by_one if one_by_one else crop_by_matrices
    x = crop(images, boxes, drawn.flip, settings.image_size)
    x = _jitter(x, drawn, p)
    if x.shape[1] == 3:
        _on_subset(x, drawn.grey, lambda part, _: luma(part).expand(-1, 3, -1, -1))
    _on_subset(x, drawn.sigma > 0, lambda part, index: gaussian_blur(part, p.sigma[index]))
    scale, shift = _channels(settings.normalisation, device)
    x = x.mul_(scale).add_(shift)
    _on_subset(x, drawn.hole[:, 2] > 0, lambda part, index: cut_out(part, p.hole[index]))
    out.copy_(x)


@functools.cache
def _channels(normalisation: Normalisation, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return 1 / std and -mean / std, each (c, 1, 1); cached, because creating them on a GPU waits for its work."""
    with torch.inference_mode(False):  # the cached tensors must work in every mode
        mean, std = (torch.tensor(values, device=device)[:, None, None] for values in normalisation)
        return 1 / std, -mean / std


def pixel_boxes(box: Tensor, height: int, width: int) -> Tensor:
    """Convert boxes to whole pixels, as torchvision does.

    Args:
        box: float (n, 4), in units of the image's sides.
        height: Height of the images in pixels.
        width: Width of the images in pixels.

    Returns:
        int64 (n, 4) on the CPU: left, top, width, height.
    """
    scale = torch.tensor([width, height, width, height])
    left, top, wide, high = (box * scale).round().long().unbind(1)
    wide, high = wide.clamp(1, width), high.clamp(1, height)
    left, top = torch.minimum(left, width - wide), torch.minimum(top, height - high)
    return torch.stack([left, top, wide, high], dim=1)


def crop_one_by_one(images: Tensor, boxes: Tensor, flip: Tensor, size: int) -> Tensor:
    """Crop, resize and flip images one by one on a CPU.

    PyTorch's antialiased resampling of uint8 uses Pillow's fixed-point arithmetic and is as fast.

    Args:
        images: uint8 (n, 3, h, w).
        boxes: From ``pixel_boxes``.
        flip: bool (n,).
        size: Side of the views in pixels.

    Returns:
        float32 (n, 3, size, size) in [0, 1].
    """
    x = torch.empty((len(images), images.shape[1], size, size), dtype=torch.uint8)
    for index, (left, top, width, height) in enumerate(boxes.tolist()):
        part = images[index : index + 1, :, top : top + height, left : left + width]
        x[index] = F.interpolate(part, (size, size), mode="bilinear", antialias=True)[0]
    chosen = flip.nonzero()[:, 0]
    x[chosen] = x[chosen].flip(3)
    return x.float().div_(255)


def crop_by_matrices(images: Tensor, boxes: Tensor, flip: Tensor, size: int) -> Tensor:
    """Crop, resize and flip a whole batch at once, on any device, without rounding to grey levels.

    Args:
        images: uint8 (n, 3, h, w).
        boxes: From ``pixel_boxes``.
        flip: bool (n,).
        size: Side of the views in pixels.

    Returns:
        float32 (n, 3, size, size) in [0, 1].
    """
    left, top, width, height = boxes.to(images.device, non_blocking=True).float().unbind(1)
    rows = resize_matrix(top / images.shape[2], height / images.shape[2], images.shape[2], size)
    columns = resize_matrix(left / images.shape[3], width / images.shape[3], images.shape[3], size)
    flip = flip.to(images.device, non_blocking=True)
    columns = torch.where(flip[:, None, None], columns.flip(1), columns)
    n, c, h, w = images.shape
    x = images.to(torch.float32, memory_format=torch.contiguous_format).view(n, c * h, w)
    x = torch.bmm(x, columns.transpose(1, 2)).view(n, c, h, size)
    return torch.matmul((rows / 255)[:, None].expand(n, c, size, h), x)


def resize_matrix(start: Tensor, length: Tensor, size_in: int, size_out: int) -> Tensor:
    """Build a matrix per image for the antialiased bilinear resampling of a crop along one axis.

    The filter is the triangle of Pillow and of torchvision's ``antialias=True``. It is as wide as an output pixel when
    shrinking, as wide as an input pixel when enlarging, and ends at the crop's borders.

    Args:
        start: Start of each crop, float (n,), in units of the axis.
        length: Length of each crop, float (n,), in units of the axis.
        size_in: Pixels of the input.
        size_out: Pixels of the output.

    Returns:
        float32 (n, size_out, size_in); rows sum to 1.
    """
    start, length = (start * size_in)[:, None, None], (length * size_in)[:, None, None]
    scale = length / size_out
    centre = start + (torch.arange(size_out, device=start.device)[None, :, None] + 0.5) * scale
    pixel = torch.arange(size_in, device=start.device)[None, None, :] + 0.5
    weight = (pixel - centre).div_(scale.clamp(min=1)).abs_().neg_().add_(1).clamp_(min=0)
    # pixels outside the crop get weight 0; a crop that starts inside a pixel keeps that pixel
    inside = torch.minimum(pixel + 0.5 - start, start + length - pixel + 0.5)
    weight *= inside.sub_(1e-3).mul_(1e4).clamp_(0, 1)
    return weight.div_(weight.sum(dim=2, keepdim=True))


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
        x: float (n, 3, h, w) in [0, 1].
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


def _jitter(x: Tensor, drawn: Parameters, on_device: Parameters) -> Tensor:
    for position in range(4):
        for which, operation in enumerate(_JITTER):
            if x.shape[1] != 3 and operation in _OF_COLOURS:
                continue
            chosen = drawn.jitter & (drawn.order[:, position] == which)
            _on_subset(
                x,
                chosen,
                lambda part, index, op=operation, which=which: op(part, on_device.factors[index, which]),
                alone=True,
            )
    return x


def _on_subset(x: Tensor, chosen: Tensor, operation, *, alone: bool = False) -> None:
    """Apply ``operation(part, index)`` to the chosen images of ``x``. ``chosen`` is on the CPU, to avoid a device sync.

    ``alone``: the operation works in place. On a CPU, large images are then processed one by one, because each one
    stays in the processor's cache and needs no copy.
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


def gaussian_blur(x: Tensor, sigma: Tensor) -> Tensor:
    """Apply Gaussian blur with one sigma per image. Borders are reflected.

    Kernels reach 6 pixels to each side: 3 sigma for the paper's largest sigma, 2.

    Args:
        x: float (n, c, h, w).
        sigma: float (n,) in pixels, > 0.

    Returns:
        float (n, c, h, w).
    """
    return _blur_by_convolution(x, sigma) if x.device.type == "cpu" else _blur_by_matrices(x, sigma)


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


def _blur_kernel(sigma: Tensor, radius: int) -> Tensor:
    offset = torch.arange(-radius, radius + 1, device=sigma.device)
    kernel = torch.exp(-(offset**2) / (2 * sigma[:, None] ** 2))
    return kernel / kernel.sum(dim=1, keepdim=True)


def _blur_by_convolution(x: Tensor, sigma: Tensor) -> Tensor:
    n, c, h, w = x.shape
    for axis, size in ((2, h), (3, w)):
        radius = min(RADIUS, size - 1)
        kernel = _blur_kernel(sigma, radius).repeat_interleave(c, dim=0)
        padding = (0, 0, radius, radius) if axis == 2 else (radius, radius, 0, 0)
        padded = F.pad(x.reshape(1, n * c, h, w), padding, mode="reflect")
        shape = (n * c, 1, -1, 1) if axis == 2 else (n * c, 1, 1, -1)
        x = F.conv2d(padded, kernel.view(shape), groups=n * c).view(n, c, h, w)
    return x


def _blur_by_matrices(x: Tensor, sigma: Tensor) -> Tensor:
    rows, columns = (_blur_matrix(sigma, size) for size in x.shape[2:])
    x = torch.einsum("nyh,nchw->ncyw", rows, x)
    return torch.einsum("nxw,ncyw->ncyx", columns, x)


def _blur_matrix(sigma: Tensor, size: int) -> Tensor:
    radius = min(RADIUS, size - 1)
    kernel = _blur_kernel(sigma, radius)
    offset = torch.arange(-radius, radius + 1, device=sigma.device)
    source = (torch.arange(size, device=sigma.device)[:, None] + offset[None, :]).abs()
    source = torch.where(source > size - 1, 2 * (size - 1) - source, source)
    matrix = torch.zeros(len(sigma), size, size, device=sigma.device)
    index = source[None].expand(len(sigma), -1, -1)
    return matrix.scatter_add_(2, index, kernel[:, None, :].expand(-1, size, -1).contiguous())
