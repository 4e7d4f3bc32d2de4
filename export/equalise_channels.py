"""Equalising the ranges of channels: 8 bits per tensor need it, and it costs nothing when the encoder runs.

A channel with small values uses few of a tensor's 256 steps. Between two convolutions a channel may be scaled down by
any positive factor, if the weights that read it scale it up again (Nagel et al. 2019, "Data-free quantization through
weight equalization and bias correction", section 4.1). Here the factors come from activations, and each channel of a
residual stream has one factor from its first block to its last.
"""

from collections.abc import Iterable

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

SHARE = 0.5  # exponent of a channel's range in its factor; the weights take the rest
SMALLEST = 1e-3  # smallest range, as a fraction of the widest channel's: limits the factors of inactive channels
KEPT = ("Relu", "MaxPool", "Add")  # a positive factor passes through these operators unchanged


class Streams:
    """Groups of tensors that must have the same scale, because Add, Relu or MaxPool connects them.

    Args:
        network: The network's graph.
    """

    def __init__(self, network: ModelProto) -> None:
        self._parent: dict[str, str] = {}
        graph = network.graph
        constants = {tensor.name for tensor in graph.initializer}
        made = {name for node in graph.node if node.op_type in ("Conv", *KEPT) for name in node.output}
        tied = [node for node in graph.node if node.op_type in KEPT and made.issuperset(node.input)]
        for node in tied:
            for name in node.input:
                self._parent[self.of(node.output[0])] = self.of(name)
        self.convolutions = [node for node in graph.node if node.op_type == "Conv" and node.input[1] in constants]
        self.tensors = [node.output[0] for node in (*self.convolutions, *tied)]
        known = {node.output[0] for node in tied} | {node.output[0] for node in self.convolutions}
        self.means = []  # means over positions: the factor can be removed after them
        fixed = {self.of(value.name) for value in (*graph.input, *graph.output)}
        for node in graph.node:
            reads = [name for name in node.input if name in known]
            if not reads or node.output[0] in known or node.op_type == "Shape":
                continue
            if node.op_type in ("ReduceMean", "AveragePool"):
                self.means.append(node)
            else:
                fixed |= {self.of(name) for name in reads}
        self.free = {self.of(name) for name in self.tensors} - fixed

    def of(self, tensor: str) -> str:
        """Return the name of the group of a tensor.

        Args:
            tensor: Name of the tensor.

        Returns:
            Name of one tensor that represents the group.
        """
        while self._parent.setdefault(tensor, tensor) != tensor:
            tensor = self._parent[tensor]
        return tensor


def equalised(network: ModelProto, ranges: dict[str, NDArray[np.float32]]) -> ModelProto:
    """Copy a network so that it computes the same with channels of more equal range.

    Args:
        network: The network's graph.
        ranges: For each of ``Streams.tensors``: the typical largest absolute value of each channel (c,).

    Returns:
        The new graph.
    """
    streams = Streams(network)
    widest: dict[str, NDArray[np.float32]] = {}
    for name in streams.tensors:
        stream = streams.of(name)
        widest[stream] = np.maximum(widest.get(stream, 0), ranges[name])
    factors = {name: _factors(widest[name]) for name in streams.free}
    result = ModelProto()
    result.CopyFrom(network)
    tensors = {tensor.name: tensor for tensor in result.graph.initializer}
    for node in streams.convolutions:
        before, after = (factors.get(streams.of(name)) for name in (node.input[0], node.output[0]))
        weight = numpy_helper.to_array(tensors[node.input[1]]).astype(np.float64)
        if before is not None:
            weight = weight * before[None, :, None, None]
        if after is not None:
            weight = weight / after[:, None, None, None]
            if len(node.input) > 2:
                bias = numpy_helper.to_array(tensors[node.input[2]]) / after
                _replace(tensors[node.input[2]], bias)
        _replace(tensors[node.input[1]], weight)
    for node in streams.means:
        factor = factors.get(streams.of(node.input[0]))
        if factor is not None:
            _scale_back(result, node.output[0], factor)
    return result


def channel_ranges(outputs: Iterable[dict[str, NDArray[np.float32]]]) -> dict[str, NDArray[np.float32]]:
    """Compute the largest absolute value in each channel, averaged over images.

    Args:
        outputs: Batches: name of the tensor -> values (n, c, h, w).

    Returns:
        Name of the tensor -> float32 (c,).
    """
    total: dict[str, NDArray[np.float64]] = {}
    images = 0
    for batch in outputs:
        images += len(next(iter(batch.values())))
        for name, values in batch.items():
            total[name] = total.get(name, 0) + np.abs(values).max(axis=(2, 3)).sum(axis=0, dtype=np.float64)
    return {name: (sums / images).astype(np.float32) for name, sums in total.items()}


def _factors(ranges: NDArray[np.float32]) -> NDArray[np.float64]:
    if ranges.max() <= 0:  # the tensor is always zero
        return np.ones(len(ranges))
    return (np.maximum(ranges, SMALLEST * ranges.max()) / ranges.mean()).astype(np.float64) ** SHARE


def _replace(tensor: onnx.TensorProto, values: NDArray) -> None:
    tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))


def _scale_back(network: ModelProto, mean: str, factor: NDArray) -> None:
    graph = network.graph
    node = next(node for node in graph.node if mean in node.output)
    kept = next((bool(attribute.i) for attribute in node.attribute if attribute.name == "keepdims"), True)
    shape = (1, -1, 1, 1) if kept else (1, -1)
    graph.initializer.append(numpy_helper.from_array(factor.astype(np.float32).reshape(shape), f"{mean}_factors"))
    node.output[0] = f"{mean}_equalised"
    position = next(index for index, other in enumerate(graph.node) if other.output[0] == node.output[0])
    back = onnx.helper.make_node("Mul", [node.output[0], f"{mean}_factors"], [mean], f"{mean}_scale_back")
    graph.node.insert(position + 1, back)
