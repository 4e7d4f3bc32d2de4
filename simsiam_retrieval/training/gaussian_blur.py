"""Gaussian blur of a batch with one sigma per image: by convolution on a CPU, by matrices on other devices."""

import torch
import torch.nn.functional as F
from torch import Tensor

RADIUS = 6  # radius of the blur's kernel in pixels: 3 sigma for the paper's largest sigma of 2


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
