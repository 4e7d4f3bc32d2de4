"""Converting projector and predictor of a file, if they have the shape of SimSiam's."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..methods.heads import BN_PLACEMENTS, predictor, projector
from .find_resnet import COUNTER

STATISTICS = ("running_mean", "running_var")
AFFINE = ("weight", "bias")
MOST_LAYERS = 8  # layers of a projector at most, as in ``Config``


class Unfit(Exception):
    """The heads differ from those of this package; the message says how."""


@dataclass(frozen=True)
class Layer:
    """A linear layer, and the BN after it if there is one.

    Attributes:
        weight: (out, in).
        bias: (out,), or None.
        norm: Tensors of the BN by name, or None.
    """

    weight: Tensor
    bias: Tensor | None
    norm: dict[str, Tensor] | None


@dataclass(frozen=True)
class Heads:
    """Both heads of a file and the settings that describe them.

    Attributes:
        state: float32 tensors: "projector.0.weight", ...
        settings: Named as in ``Config``.
    """

    state: dict[str, Tensor]
    settings: dict[str, int | str]


def read_heads(projector_tensors: dict[str, Tensor], predictor_tensors: dict[str, Tensor], feature_dim: int) -> Heads:
    """Read projector and predictor, each an ``nn.Sequential``.

    A bias before a BN (the reference implementation freezes one there) is folded into the BN's running mean. The
    function stays exactly the same in training and in evaluation.

    Args:
        projector_tensors: Tensors of the projector; names begin with the position in the Sequential.
        predictor_tensors: Tensors of the predictor, named likewise.
        feature_dim: Width of the backbone's output.

    Returns:
        The heads.

    Raises:
        Unfit: Depth, widths or BN differ from what ``simsiam_retrieval.methods.heads`` builds.
    """
    if not predictor_tensors:
        raise Unfit("there is no predictor to go with it")
    first, second = _layers(projector_tensors), _layers(predictor_tensors)
    hidden = {layer.weight.shape[0] for layer in first[:-1]}
    dim = first[-1].weight.shape[0]
    if len(hidden) > 1 or len(first) > MOST_LAYERS:
        raise Unfit("the projector's hidden layers differ in width, or are too many")
    if len(second) != 2:
        raise Unfit(f"the predictor has {len(second)} linear layers, not 2")
    width = hidden.pop() if hidden else dim
    bottleneck = second[0].weight.shape[0]
    reason = ""
    for bn in sorted(BN_PLACEMENTS, key=lambda name: name != "default"):
        with torch.device("meta"):
            ours = projector(feature_dim, width, dim, len(first), bn), predictor(dim, bottleneck, bn)
        try:
            state = {**_filled(ours[0], first, "projector"), **_filled(ours[1], second, "predictor")}
        except Unfit as unfit:
            reason = reason or str(unfit)  # the difference to the default heads is the most useful message
            continue
        settings: dict[str, int | str] = {"projector_layers": len(first), "projector_dim": dim}
        settings |= {"projector_hidden_dim": 0 if width == dim else width, "predictor_dim": bottleneck, "head_bn": bn}
        return Heads(state, settings)
    raise Unfit(reason)


def _layers(tensors: dict[str, Tensor]) -> list[Layer]:
    parts: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        position, _, kind = name.partition(".")
        if not position.isdecimal():
            raise Unfit(f"{name} is no part of a plain MLP")
        parts.setdefault(int(position), {})[kind] = tensor
    layers: list[Layer] = []
    for position, part in sorted(parts.items()):
        kinds = set(part) - {COUNTER}
        weight = part.get("weight")
        if weight is not None and weight.ndim == 2 and kinds <= {"weight", "bias"}:
            layers.append(Layer(weight, part.get("bias"), None))
        elif set(STATISTICS) <= kinds <= {*STATISTICS, *AFFINE} and layers and layers[-1].norm is None:
            layers[-1] = Layer(layers[-1].weight, layers[-1].bias, part)
        else:
            raise Unfit(f"layer {position} is neither linear nor batch normalisation")
    if not layers:
        raise Unfit("it has no linear layer")
    return layers


def _filled(module: nn.Sequential, layers: list[Layer], head: str) -> dict[str, Tensor]:
    """Return the state_dict that makes ``module`` compute the same as ``layers``; raise ``Unfit`` if it cannot."""
    state: dict[str, Tensor] = {}
    numbered = list(enumerate(module))
    linear = [(position, part) for position, part in numbered if isinstance(part, nn.Linear)]
    norms = {position: part for position, part in numbered if isinstance(part, nn.BatchNorm1d)}
    for (position, part), layer in zip(linear, layers, strict=True):
        place = f"the {head}'s layer {position}"
        if layer.weight.shape != part.weight.shape:
            raise Unfit(f"{place} is {tuple(layer.weight.shape)}, not {tuple(part.weight.shape)}")
        norm = norms.get(position + 1)
        if (norm is None) != (layer.norm is None):
            raise Unfit(f"{place} has {'a' if layer.norm else 'no'} batch normalisation after it")
        state[f"{position}.weight"] = layer.weight
        bias = torch.zeros(len(layer.weight)) if layer.bias is None else layer.bias
        if norm is None:
            state[f"{position}.bias"] = bias
        elif layer.norm is not None:
            state |= {f"{position + 1}.{kind}": value for kind, value in _norm(norm, layer.norm, bias, place)}
    return {f"{head}.{name}": _checked(f"{head}.{name}", value) for name, value in state.items()}


def _norm(module: nn.BatchNorm1d, norm: dict[str, Tensor], bias: Tensor, place: str) -> Iterator[tuple[str, Tensor]]:
    if module.affine != (AFFINE[0] in norm):
        raise Unfit(f"the batch normalisation after {place} has {'no ' if module.affine else ''}scale and shift")
    if any(len(value) != module.num_features for kind, value in norm.items() if kind != COUNTER):
        raise Unfit(f"the batch normalisation after {place} has another width")
    for kind in AFFINE if module.affine else ():
        yield kind, norm[kind]
    yield STATISTICS[0], norm[STATISTICS[0]].double() - bias.double()
    yield STATISTICS[1], norm[STATISTICS[1]]
    yield COUNTER, norm.get(COUNTER, torch.tensor(0)).reshape(())


def _checked(name: str, value: Tensor) -> Tensor:
    if name.endswith(COUNTER):
        return value.long()
    if not value.is_floating_point():
        raise Unfit(f"{name} contains no floating-point weights")
    if not bool(torch.isfinite(value).all()):
        raise Unfit(f"{name} contains NaN or infinite values")
    return value.detach().float().contiguous()
