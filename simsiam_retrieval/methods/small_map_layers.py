"""Convolution layers that choose how they are computed, and the rules for the choice.

The rules depend only on shapes, dtype and processor, never on a timing. A timing varies with the load of the machine,
and a resumed run must add numbers in the same order. The measurements behind the rules were made with
``benchmarks/convolution_ways.py``; the table is in ``benchmarks/results/train-throughput``.
"""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .small_maps import Shape, Ways, convolve

LIBRARY = Ways("library", "library", "library")

# Arranging one block of the dense matrix, or one tap of the patches, costs as much as multiplying so many images.
BLOCK_IMAGES = {"forward": 70, "input": 20}
TAP_IMAGES = 8


def choose(shape: Shape, images: int, dtype: torch.dtype, *, fast: bool = True, matrix_unit: bool = False) -> Ways:
    """Choose how to compute a convolution on a CPU.

    Args:
        shape: The convolution.
        images: Number of maps in the batch.
        dtype: Type in which the products are computed.
        fast: False leaves everything to PyTorch, except for one gradient that PyTorch computes wrongly: oneDNN's
            bfloat16 gradient of the weight leaves taps that meet only padding uninitialised (torch 2.14, oneDNN 3).
        matrix_unit: Whether the processor has AMX.

    Returns:
        A way for the values and for both gradients.
    """
    half = dtype == torch.bfloat16
    weight = "taps" if half and shape.has_unused_taps else "library"
    if not fast:
        return Ways("library", "library", weight)
    pixels = shape.map_out[0] * shape.map_out[1]
    if pixels == 0 or images == 0:
        return LIBRARY
    sparse = shape.blocks < shape.taps  # patches would consist mostly of padding
    patches = half and (pixels <= (16 if matrix_unit or shape.kernel == (1, 1) else 4))
    ways = {}
    for part, per_block in BLOCK_IMAGES.items():
        dense = sparse and shape.blocks * (images + per_block) < shape.taps * (images + TAP_IMAGES)
        ways[part] = "dense" if dense else "patches" if patches else "library"
    if _small_for_weight(shape, pixels, matrix_unit) if half else sparse:
        weight = "taps"
    return Ways(ways["forward"], ways["input"], weight)


def _small_for_weight(shape: Shape, pixels: int, matrix_unit: bool) -> bool:
    if shape.channels_in < 64:
        return False
    if matrix_unit:  # measured for maps up to 4x4 only
        return pixels <= 16
    return pixels <= 49 or (pixels <= 64 and shape.stride != (1, 1) and shape.channels_in >= 128)


class SmallMapConv2d(nn.Conv2d):
    """``nn.Conv2d`` without bias, groups and dilation that is computed by the way ``choose`` returns.

    The weight has the same name and shape as in ``nn.Conv2d``.
    """

    fast = True

    @classmethod
    def replace(cls, module: nn.Module, *, fast: bool = True) -> None:
        """Replace every such convolution below a module; parameters and names stay.

        Args:
            module: Changed in place.
            fast: See ``choose``.
        """
        for name, child in module.named_children():
            if type(child) is nn.Conv2d and _plain(child):
                new = cls.__new__(cls)
                new.__dict__.update(child.__dict__)
                new.fast = fast
                setattr(module, name, new)
            else:
                cls.replace(child, fast=fast)

    def forward(self, input: Tensor) -> Tensor:
        """Compute the convolution; under autocast in autocast's dtype.

        Args:
            input: (n, channels_in, h, w).

        Returns:
            (n, channels_out, h', w').
        """
        if input.device.type != "cpu" or input.dim() != 4:
            return super().forward(input)
        if torch.is_autocast_enabled("cpu"):
            input = input.to(torch.get_autocast_dtype("cpu"))
        shape = Shape(
            self.in_channels,
            self.out_channels,
            self.kernel_size,  # type: ignore[arg-type]
            self.stride,  # type: ignore[arg-type]
            self.padding,  # type: ignore[arg-type]
            (input.shape[2], input.shape[3]),
        )
        ways = _chosen(shape, len(input), input.dtype, self.fast)
        if ways == LIBRARY:
            return F.conv2d(input, self.weight, None, self.stride, self.padding)  # type: ignore[arg-type]
        return convolve(input, self.weight, shape, ways)


@functools.lru_cache(maxsize=1024)
def _chosen(shape: Shape, images: int, dtype: torch.dtype, fast: bool) -> Ways:
    return choose(shape, images, dtype, fast=fast, matrix_unit=torch.cpu._is_amx_tile_supported())


def _plain(layer: nn.Conv2d) -> bool:
    return (
        layer.bias is None
        and layer.groups == 1
        and layer.dilation == (1, 1)
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
    )
