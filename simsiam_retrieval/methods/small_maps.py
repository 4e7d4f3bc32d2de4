"""Convolutions on small maps as matrix products. PyTorch's own are slow there on a CPU, and one of them is wrong.

The values equal those of ``torch.nn.functional.conv2d`` up to rounding. There are three ways to compute a convolution:

- ``library``: PyTorch's own; on a CPU this is oneDNN.
- ``patches``: copy the patches side by side, then compute one matrix product.
- ``dense``: multiply whole maps by one weight matrix with a block for each pair of an input pixel and an output pixel.
  On a 2x2 map a 3x3 kernel needs 16 blocks; patches need 36, most of them padding.

Tensors are in channels-last memory format. A tensor in another format is copied first.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


class Ways(NamedTuple):
    """The way to compute a convolution's values and its two gradients.

    Attributes:
        forward: "library", "patches" or "dense".
        input: For the gradient of the input: "library", "patches" or "dense".
        weight: For the gradient of the weight: "library", or "taps" (one product per tap of the kernel).
    """

    forward: str
    input: str
    weight: str


@dataclass(frozen=True)
class Shape:
    """A convolution without groups and dilation, and the size of its input maps.

    Together with the number of images this is all that the choice of a way depends on.

    Attributes:
        channels_in: Channels of the input.
        channels_out: Channels of the output.
        kernel: Height and width of the kernel.
        stride: Vertical and horizontal stride.
        padding: Vertical and horizontal padding.
        map_in: Height and width of the input.
    """

    channels_in: int
    channels_out: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    map_in: tuple[int, int]

    @property
    def map_out(self) -> tuple[int, int]:
        """Height and width of the output."""
        height, width = (
            (size + 2 * padding - kernel) // stride + 1
            for size, padding, kernel, stride in zip(self.map_in, self.padding, self.kernel, self.stride, strict=True)
        )
        return height, width

    @property
    def blocks(self) -> int:
        """Number of pairs of an input pixel and an output pixel that the dense weight matrix has a block for."""
        return self.map_in[0] * self.map_in[1] * self.map_out[0] * self.map_out[1]

    @property
    def taps(self) -> int:
        """Kernel positions, summed over all output pixels: the number of blocks that patches multiply."""
        return self.map_out[0] * self.map_out[1] * self.kernel[0] * self.kernel[1]

    @property
    def has_unused_taps(self) -> bool:
        """Whether some taps of the kernel meet only padding, so that their gradient is zero."""
        covered = (_used(self, axis) for axis in (0, 1))
        return any(len(used) < self.kernel[axis] for axis, used in enumerate(covered))


def _used(shape: Shape, axis: int) -> set[int]:
    taps = range(shape.kernel[axis])
    size, stride, padding = shape.map_in[axis], shape.stride[axis], shape.padding[axis]
    return {tap for tap in taps for out in range(shape.map_out[axis]) if 0 <= out * stride + tap - padding < size}


def convolve(x: Tensor, weight: Tensor, shape: Shape, ways: Ways) -> Tensor:
    """Compute a convolution without bias. Differentiable once.

    ``weight`` may have a wider dtype than ``x``. Products are computed in the dtype of ``x``; the gradient of
    ``weight`` has the dtype of ``weight``.

    Args:
        x: (n, channels_in, h, w).
        weight: (channels_out, channels_in, kh, kw).
        shape: The convolution and the size of the maps.
        ways: How to compute the values and the gradients.

    Returns:
        (n, channels_out, h', w') in the dtype of ``x``.
    """
    return _Convolution.apply(x, weight, shape, ways)  # type: ignore[no-any-return]


class _Convolution(torch.autograd.Function):
    """The convolution with the chosen way for its values and for each gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, shape: Shape, ways: Ways) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.shape, ctx.ways = shape, ways
        if ways.forward == "library":
            return F.conv2d(x, weight.to(x.dtype), None, shape.stride, shape.padding)
        inputs = _last(x)
        if ways.forward == "dense":
            result = _flat(inputs) @ _dense_weight(weight, shape, x.dtype).t()
        else:
            flat_weight = _last(weight.to(x.dtype)).reshape(shape.channels_out, -1)
            result = _patches(inputs, shape.kernel, shape.stride, _pads(shape), shape.map_out) @ flat_weight.t()
        return _first(result.view(len(x), *shape.map_out, shape.channels_out))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        shape, ways = ctx.shape, ctx.ways
        wanted = ctx.needs_input_grad[:2]
        by_library = [want and way == "library" for want, way in zip(wanted, ways[1:], strict=True)]
        grad_x = grad_weight = None
        if any(by_library):
            grad_x, grad_weight = _library_gradients(grad, x, weight.to(x.dtype), shape, by_library)
        outputs = _last(grad)
        if wanted[0] and ways.input == "dense":
            dense = _flat(outputs) @ _dense_weight(weight, shape, x.dtype)
            grad_x = _first(dense.view(len(x), *shape.map_in, shape.channels_in))
        elif wanted[0] and ways.input == "patches":
            grad_x = _input_gradient(outputs, weight, shape)
        if wanted[1] and ways.weight == "taps":
            grad_weight = _weight_gradient(_last(x), outputs, shape, weight.dtype)
        return grad_x, None if grad_weight is None else grad_weight.to(weight.dtype), None, None


def _library_gradients(
    grad: Tensor, x: Tensor, weight: Tensor, shape: Shape, wanted: list[bool]
) -> tuple[Tensor | None, Tensor | None]:
    found = torch.ops.aten.convolution_backward(
        grad, x, weight, None, shape.stride, shape.padding, (1, 1), False, (0, 0), 1, (*wanted, False)
    )
    return found[0], found[1]


def _last(x: Tensor) -> Tensor:
    """Convert (n, c, h, w) to contiguous (n, h, w, c)."""
    return x.permute(0, 2, 3, 1).contiguous()


def _first(x: Tensor) -> Tensor:
    """View (n, h, w, c) as (n, c, h, w), without a copy."""
    return x.permute(0, 3, 1, 2)


def _flat(x: Tensor) -> Tensor:
    return x.view(len(x), -1)


Pads = tuple[int, int, int, int]  # left, right, top, bottom


def _pads(shape: Shape) -> Pads:
    vertical, horizontal = shape.padding
    return horizontal, horizontal, vertical, vertical


def _patches(
    x: Tensor, kernel: tuple[int, int], stride: tuple[int, int], pads: Pads, map_out: tuple[int, int]
) -> Tensor:
    """Return the patches of contiguous (n, h, w, c) side by side: (n h' w', kh kw c)."""
    if any(pads):
        x = F.pad(x, (0, 0, *pads))  # negative padding crops
    n, _, _, c = x.shape
    per_image, per_row, per_pixel, _ = x.stride()
    size = (n, *map_out, kernel[0], kernel[1] * c)
    # the pixels of one kernel row are contiguous in memory, so they are copied in one piece
    strides = (per_image, stride[0] * per_row, stride[1] * per_pixel, per_row, 1)
    return x.as_strided(size, strides, x.storage_offset()).reshape(n * map_out[0] * map_out[1], -1)


def _input_gradient(grad: Tensor, weight: Tensor, shape: Shape) -> Tensor:
    """Gradient of the input, from contiguous (n, h', w', c'): one convolution for each phase of the stride.

    Input pixels of one phase (every stride-th pixel in both directions) meet the same taps of the kernel.
    """
    n, (height, width) = len(grad), shape.map_in
    result = grad.new_zeros((n, height, width, shape.channels_in))
    for row in _phases(shape, 0):
        for column in _phases(shape, 1):
            kernel = (len(row.taps), len(column.taps))
            map_out = (row.pixels, column.pixels)
            pads = (column.before, column.after, row.before, row.after)
            taps = grad.new_empty((*kernel, shape.channels_out, shape.channels_in))
            for i, j in product(range(kernel[0]), range(kernel[1])):
                taps[i, j] = weight[:, :, row.taps[i], column.taps[j]]
            found = _patches(grad, kernel, (1, 1), pads, map_out) @ taps.view(-1, shape.channels_in)
            result[:, row.start :: shape.stride[0], column.start :: shape.stride[1]] = found.view(n, *map_out, -1)
    return _first(result)


class _Phase(NamedTuple):
    start: int  # first input pixel
    pixels: int
    taps: list[int]  # taps of the kernel, in the order of the output pixels that they meet
    before: int  # padding of the output's gradient at this end
    after: int


def _phases(shape: Shape, axis: int) -> Iterator[_Phase]:
    size, out, padding = shape.map_in[axis], shape.map_out[axis], shape.padding[axis]
    stride, kernel = shape.stride[axis], shape.kernel[axis]
    for start in range(min(stride, size)):
        taps = list(range((start + padding) % stride, kernel, stride))[::-1]
        if not taps:  # no output pixel depends on these input pixels
            continue
        pixels = (size - start + stride - 1) // stride
        first = (start + padding - taps[0]) // stride  # output pixel that the first pixel's first tap meets
        last = first + pixels - 1 + len(taps) - 1
        yield _Phase(start, pixels, taps, -first, last - (out - 1))


class _Block(NamedTuple):
    """The input pixels that one output pixel depends on, and the part of the kernel between them."""

    row: int
    column: int
    inputs: tuple[slice, slice]
    taps: tuple[slice, slice]


def _blocks(shape: Shape) -> Iterator[_Block]:
    for row in range(shape.map_out[0]):
        for column in range(shape.map_out[1]):
            inputs, taps = [], []
            for axis, out in enumerate((row, column)):
                first = out * shape.stride[axis] - shape.padding[axis]
                start, stop = max(0, first), min(shape.map_in[axis], first + shape.kernel[axis])
                stop = max(start, stop)
                inputs.append(slice(start, stop))
                taps.append(slice(start - first, stop - first))
            yield _Block(row, column, (inputs[0], inputs[1]), (taps[0], taps[1]))


def _dense_weight(weight: Tensor, shape: Shape, dtype: torch.dtype) -> Tensor:
    """Build the weight matrix between whole maps: (h' w' c', h w c)."""
    size = (*shape.map_out, shape.channels_out, *shape.map_in, shape.channels_in)
    dense = torch.zeros(size, dtype=dtype) if _has_holes(shape) else torch.empty(size, dtype=dtype)
    weight = weight.permute(0, 2, 3, 1)
    for row, column, inputs, taps in _blocks(shape):
        dense[row, column][:, inputs[0], inputs[1]] = weight[:, taps[0], taps[1]]
    return dense.view(shape.map_out[0] * shape.map_out[1] * shape.channels_out, -1)


def _weight_gradient(x: Tensor, grad: Tensor, shape: Shape, dtype: torch.dtype) -> Tensor:
    """Gradient of the weight, from contiguous (n, h, w, c) and (n, h', w', c'): one product for each tap."""
    found = torch.zeros((shape.channels_out, *shape.kernel, shape.channels_in), dtype=dtype)
    for row in range(shape.kernel[0]):
        for column in range(shape.kernel[1]):
            (in_rows, out_rows), (in_columns, out_columns) = _meeting(shape, 0, row), _meeting(shape, 1, column)
            inputs = x[:, in_rows, in_columns].reshape(-1, shape.channels_in)
            if len(inputs):
                outputs = grad[:, out_rows, out_columns].reshape(-1, shape.channels_out)
                found[:, row, column] = outputs.t() @ inputs
    return _first(found)


def _meeting(shape: Shape, axis: int, tap: int) -> tuple[slice, slice]:
    """Return the input pixels and the output pixels that one tap of the kernel connects."""
    size, out, stride = shape.map_in[axis], shape.map_out[axis], shape.stride[axis]
    offset = tap - shape.padding[axis]
    start = max(0, -(offset // stride))  # first output pixel whose input pixel is not padding
    stop = max(start, min(out, (size - 1 - offset) // stride + 1))
    return slice(start * stride + offset, start * stride + offset + (stop - start) * stride, stride), slice(start, stop)


def _has_holes(shape: Shape) -> bool:
    return any(
        (block.inputs[axis].start, block.inputs[axis].stop) != (0, shape.map_in[axis])
        for block in _blocks(shape)
        for axis in (0, 1)
    )
