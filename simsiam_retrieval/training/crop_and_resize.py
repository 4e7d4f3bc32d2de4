"""Random crops of a batch, resized with antialiasing and flipped: one by one on a CPU, by matrices on any device."""

import torch
import torch.nn.functional as F
from torch import Tensor


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
        images: uint8 (n, c, h, w).
        boxes: From ``pixel_boxes``.
        flip: bool (n,).
        size: Side of the views in pixels.

    Returns:
        float32 (n, c, size, size) in [0, 1].
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
        images: uint8 (n, c, h, w).
        boxes: From ``pixel_boxes``.
        flip: bool (n,).
        size: Side of the views in pixels.

    Returns:
        float32 (n, c, size, size) in [0, 1].
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
