"""Convolutions as matrix products, held against PyTorch's own."""

import copy
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simsiam_retrieval.methods.backbone import build_backbone
from simsiam_retrieval.methods.small_map_layers import LIBRARY, SmallMapConv2d, choose
from simsiam_retrieval.methods.small_maps import Shape, Ways, convolve

KERNELS = [(1, 1), (2, 2), (3, 3), (1, 3), (5, 2), (7, 7)]
STRIDES = [(1, 1), (2, 2), (3, 1), (2, 3)]
PADDINGS = [(0, 0), (1, 1), (0, 2), (3, 1)]
MAPS = [(1, 1), (2, 2), (2, 1), (3, 5), (4, 4), (7, 6)]


def fits(kernel: tuple[int, int], padding: tuple[int, int], size: tuple[int, int]) -> bool:
    return all(k <= s + 2 * p for k, p, s in zip(kernel, padding, size, strict=True))


def compared(shape: Shape, ways: Ways, dtype: torch.dtype, last: bool = True) -> list[tuple[Tensor, Tensor]]:
    """Values and both gradients, ours beside those of ``conv2d`` in float64 on the same numbers."""
    draw = torch.Generator().manual_seed(0)
    memory = torch.channels_last if last else torch.contiguous_format
    x = torch.randn(3, shape.channels_in, *shape.map_in, generator=draw).to(dtype, memory_format=memory)
    weight = torch.randn(shape.channels_out, shape.channels_in, *shape.kernel, generator=draw)
    weight = weight.to(dtype, memory_format=memory)
    grad = torch.randn(3, shape.channels_out, *shape.map_out, generator=draw).to(dtype)
    pairs = []
    for number_type in (dtype, torch.float64):
        ours, theirs = x.to(number_type).requires_grad_(), weight.to(number_type).requires_grad_()
        if number_type is torch.float64 and len(pairs):
            y = F.conv2d(ours, theirs, None, shape.stride, shape.padding)
        else:
            y = convolve(ours, theirs, shape, ways)
        assert y.dtype == number_type
        pairs.append([y, *torch.autograd.grad(y, (ours, theirs), grad.to(number_type))])
    return [(a.detach().double(), b.detach()) for a, b in zip(*pairs, strict=True)]


@pytest.mark.parametrize("way", ["library", "patches", "dense"])
def test_values_and_gradients_are_conv2ds_in_float64(way: str) -> None:
    ways = Ways(way, way, "library" if way == "library" else "taps")
    tried = 0
    for kernel, stride, padding, size in product(KERNELS, STRIDES, PADDINGS, MAPS):
        if not fits(kernel, padding, size):
            continue
        for number, (ours, theirs) in enumerate(
            compared(Shape(3, 5, kernel, stride, padding, size), ways, torch.float64)
        ):
            assert ours.shape == theirs.shape
            torch.testing.assert_close(
                ours, theirs, rtol=1e-11, atol=1e-11, msg=f"{kernel} {stride} {padding} {number}"
            )
        tried += 1
    assert tried > 250


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 1e-5), (torch.bfloat16, 0.01)],  # of the largest value; bfloat16 has 8 bits
)
@pytest.mark.parametrize(
    "ways", [Ways("patches", "patches", "taps"), Ways("dense", "dense", "taps"), Ways("library", "patches", "taps")]
)
def test_values_and_gradients_are_conv2ds_within_rounding(
    ways: Ways, dtype: torch.dtype, tolerance: float, last: bool
) -> None:
    for kernel, stride, size in product([(1, 1), (3, 3)], [(1, 1), (2, 2)], [(1, 1), (2, 2), (4, 4), (5, 3)]):
        shape = Shape(32, 24, kernel, stride, (kernel[0] // 2, kernel[1] // 2), size)
        for ours, theirs in compared(shape, ways, dtype, last):
            assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()


def test_a_weight_in_float32_gets_its_gradient_in_float32() -> None:
    shape = Shape(4, 6, (3, 3), (1, 1), (1, 1), (2, 2))
    weight = torch.randn(6, 4, 3, 3, requires_grad=True)
    x = torch.randn(2, 4, 2, 2).bfloat16().requires_grad_()
    convolve(x, weight, shape, Ways("dense", "dense", "taps")).float().sum().backward()
    assert weight.grad is not None and weight.grad.dtype == torch.float32
    assert x.grad is not None and x.grad.dtype == torch.bfloat16


def test_only_wanted_gradients_are_worked_out() -> None:
    shape = Shape(4, 6, (3, 3), (1, 1), (1, 1), (2, 2))
    for ways in (
        Ways("dense", "dense", "taps"),
        Ways("patches", "patches", "taps"),
        Ways("dense", "library", "library"),
    ):
        x, weight = torch.randn(2, 4, 2, 2), torch.randn(6, 4, 3, 3)
        convolve(x, weight.requires_grad_(), shape, ways).sum().backward()
        convolve(x.requires_grad_(), weight.detach(), shape, ways).sum().backward()
        assert x.grad is not None and weight.grad is not None
        assert not convolve(x.detach(), weight.detach(), shape, ways).requires_grad


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("fast", [True, False])
def test_taps_that_meet_only_padding_get_a_gradient_of_zero_in_bfloat16(stride: int, fast: bool) -> None:
    """oneDNN leaves them uninitialised: at 32 px ResNet's last maps are 1x1, and a run there ended in not-a-number."""
    layer = nn.Sequential(nn.Conv2d(64, 64, 3, stride, 1, bias=False)).to(memory_format=torch.channels_last)
    SmallMapConv2d.replace(layer, fast=fast)
    for side in (1, 2) if stride == 2 else (1,):
        x = torch.randn(4, 64, side, side).to(memory_format=torch.channels_last)
        for _ in range(20):  # memory that others have used
            junk = [torch.full((64, 64, 3, 3), float("nan")).bfloat16() for _ in range(3)]
            del junk
            layer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                layer(x).float().square().sum().backward()
            found = layer[0].weight.grad
            assert isinstance(found, Tensor)
            used = torch.zeros(3, 3, dtype=torch.bool)
            used[1 : 1 + side, 1 : 1 + side] = True
            assert found.isfinite().all()
            assert (found[:, :, ~used] == 0).all() and (found[:, :, used] != 0).any()


def test_the_choice_by_shape() -> None:
    last_stage = Shape(512, 512, (3, 3), (1, 1), (1, 1), (2, 2))
    assert choose(last_stage, 128, torch.bfloat16) == Ways("dense", "dense", "taps")
    assert choose(last_stage, 128, torch.float32) == Ways("dense", "dense", "taps")
    assert choose(last_stage, 128, torch.bfloat16, fast=False) == LIBRARY
    downsampling = Shape(256, 512, (1, 1), (2, 2), (0, 0), (4, 4))
    assert choose(downsampling, 128, torch.bfloat16) == Ways("patches", "patches", "taps")
    large = Shape(64, 64, (3, 3), (1, 1), (1, 1), (16, 16))
    assert choose(large, 128, torch.bfloat16) == choose(large, 128, torch.float32) == LIBRARY
    middle = Shape(256, 256, (3, 3), (1, 1), (1, 1), (4, 4))
    assert choose(middle, 128, torch.bfloat16) == Ways("library", "library", "taps")
    assert choose(middle, 128, torch.bfloat16, matrix_unit=True) == Ways("patches", "patches", "taps")


def test_replaced_layers_keep_weights_names_and_results() -> None:
    torch.manual_seed(0)
    plain = build_backbone("resnet18").double().to(memory_format=torch.channels_last)
    ours = copy.deepcopy(plain)
    names = list(ours.state_dict())
    SmallMapConv2d.replace(ours)
    assert list(ours.state_dict()) == names
    assert sum(isinstance(layer, SmallMapConv2d) for layer in ours.modules()) == 20
    x = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    for network in (plain, ours):
        network(x).square().sum().backward()
    for mine, theirs in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)
    plain.load_state_dict(ours.state_dict())


def test_layers_that_do_more_are_left_alone() -> None:
    layers = nn.Sequential(
        nn.Conv2d(4, 4, 3, groups=2, bias=False),
        nn.Conv2d(4, 4, 3),
        nn.Conv2d(4, 4, 3, dilation=2, bias=False),
        nn.Conv2d(4, 4, 3, padding="same", bias=False),
        nn.Conv2d(4, 4, 3, padding_mode="reflect", padding=1, bias=False),
        nn.Sequential(nn.Conv2d(4, 4, 3, bias=False)),
    )
    SmallMapConv2d.replace(layers)
    assert [type(layer) for layer in layers[:5]] == [nn.Conv2d] * 5
    assert isinstance(layers[5][0], SmallMapConv2d)  # type: ignore[index]
