"""Pictures as copies of them go around: made smaller and compressed by JPEG's rules, for whole batches, on any device.

JPEG loses detail when it rounds the cosine transform of 8 x 8 blocks (ITU-T T.81, A.3.3 and A.3.4; quantisation tables
of annex K.1, scaled by quality as libjpeg does). Entropy coding loses nothing and is left out. Colours are not
subsampled.
"""

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

REDUCTIONS = (1.0, 1.5, 2.0)  # how many times smaller a picture becomes
QUALITY = (30.0, 95.0)  # of JPEG
BLOCK = 8

# annex K.1, tables K.1 (luminance) and K.2 (chrominance), row by row
_LUMINANCE = (
    "16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62 "
    "18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"
)
_CHROMINANCE = "17 18 24 47 18 21 26 66 24 26 56 99 47 66 99 99"  # the corner; 99 elsewhere

# JFIF: luma, blue and red difference from RGB
_YCC = ((0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411))


def recompress(images: Tensor, reduction: Tensor, quality: Tensor) -> Tensor:
    """Make each image smaller, compress it, and enlarge it to its old size.

    Args:
        images: uint8 (n, c, h, w) on any device. Three channels are RGB; others are compressed as grey.
        reduction: float (n,) on the CPU: how many times smaller, at least 1.
        quality: float (n,): JPEG quality from 1 to 100.

    Returns:
        uint8 (n, c, h, w) on the same device.
    """
    out = torch.empty_like(images)
    for factor in reduction.unique().tolist():
        index = (reduction == factor).nonzero()[:, 0].to(images.device, non_blocking=True)
        x = images[index].float()
        sides = [max(1, round(side / factor)) for side in images.shape[2:]]
        if factor > 1:
            x = F.interpolate(x, sides, mode="bilinear", antialias=True)
        x = compress(x, quality.to(images.device)[index])
        if factor > 1:
            x = F.interpolate(x, images.shape[2:], mode="bilinear", antialias=True)
        out[index] = x.round_().clamp_(0, 255).to(torch.uint8)
    return out


def compress(x: Tensor, quality: Tensor) -> Tensor:
    """Lose what baseline JPEG loses, without subsampling of colours.

    Args:
        x: float (n, c, h, w) from 0 to 255.
        quality: float (n,): JPEG quality from 1 to 100, on the same device.

    Returns:
        float (n, c, h, w) from 0 to 255.
    """
    n, c, h, w = x.shape
    if c == 3:
        x = torch.einsum("kc,nchw->nkhw", _colours(x.device)[0], x).round_()  # whole numbers, as JPEG has them
        x[:, 0] -= 128
    else:
        x = x - 128
    x = F.pad(x, (0, -w % BLOCK, 0, -h % BLOCK), mode="replicate")
    high, wide = x.shape[2] // BLOCK, x.shape[3] // BLOCK
    blocks = x.reshape(n, c, high, BLOCK, wide, BLOCK).transpose(3, 4)
    cosines = _cosines(x.device)
    tables = _tables(quality, c)[:, :, None, None]
    blocks = (cosines @ blocks @ cosines.T).div_(tables).round_().mul_(tables)
    x = (cosines.T @ blocks @ cosines).transpose(3, 4).reshape(n, c, high * BLOCK, wide * BLOCK)[:, :, :h, :w]
    x = x.round_()
    if c == 3:
        x[:, 0] += 128
        x = torch.einsum("ck,nkhw->nchw", _colours(x.device)[1], x)
    else:
        x = x + 128
    return x.clamp_(0, 255)


def _tables(quality: Tensor, channels: int) -> Tensor:
    """Quantisation tables, (n, c, 8, 8), scaled as libjpeg does."""
    percent = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality).floor()
    tables = (_standard(quality.device, channels) * percent[:, None, None, None] + 50).div(100).floor()
    return tables.clamp_(1, 255)


@functools.cache
def _standard(device: torch.device, channels: int) -> Tensor:
    with torch.inference_mode(False):
        luminance = torch.tensor([float(value) for value in _LUMINANCE.split()], device=device).view(BLOCK, BLOCK)
        if channels != 3:
            return luminance.expand(channels, BLOCK, BLOCK)
        chrominance = torch.full((BLOCK, BLOCK), 99.0, device=device)
        corner = [float(value) for value in _CHROMINANCE.split()]
        chrominance[:4, :4] = torch.tensor(corner, device=device).view(4, 4)
        return torch.stack([luminance, chrominance, chrominance])


@functools.cache
def _cosines(device: torch.device) -> Tensor:
    """The orthonormal cosine transform (type II) of length 8."""
    with torch.inference_mode(False):
        place = torch.arange(BLOCK, device=device) + 0.5
        rows = torch.cos(math.pi / BLOCK * torch.arange(BLOCK, device=device)[:, None] * place) * math.sqrt(2 / BLOCK)
        rows[0] /= math.sqrt(2)
        return rows


@functools.cache
def _colours(device: torch.device) -> tuple[Tensor, Tensor]:
    """From RGB, and back."""
    with torch.inference_mode(False):
        there = torch.tensor(_YCC)
        return there.to(device), torch.linalg.inv(there).to(device)
