"""The part of an encoder's graph that computes the stages' maps, for pictures of any size; see ``docs/regions.md``.

An encoder's graph ends in pooling over the whole square. Its convolutions work at any size, so they are cut out of the
file: one pass over a larger picture gives maps from which the vectors of many regions are pooled.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..methods.feature_description import Features, described
from .onnx_session import open_session

if TYPE_CHECKING:
    from onnx import GraphProto

    from .onnx_encoder import Encoder

INPUT = "pixels"  # in an encoder's graph: float32 (batch, channels, size, size), before normalisation
MEAN, PROJECTION = "reduction_mean", "reduction_projection"  # weights of the PCA at a graph's end
# operators between the input and the last convolution; anything else takes the maps for pooling
CONVOLUTIONAL = ("Conv", "Relu", "Add", "MaxPool", "Cast", "QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True)
class StageNetwork:
    """A network from pixels to the maps of its stages. Can be sent to other processes.

    Attributes:
        content: The ONNX file.
        outputs: Names of the maps, one for each stage that ``features`` names, in order of the stages.
        features: How vectors are made of the maps.
        mean: Mean that is subtracted before the PCA, float32 (d,); None without PCA.
        projection: Axes of the PCA, float32 (d, dim); None without PCA.
    """

    content: bytes
    outputs: tuple[str, ...]
    features: Features
    mean: NDArray[np.float32] | None
    projection: NDArray[np.float32] | None

    def open(self) -> Any:
        """Open an ONNX Runtime session on the CPU, with one thread.

        Returns:
            The session.
        """
        return open_session(Path("the encoder's stages"), self.content, "cpu", 1)[0]

    def maps(self, session: Any, pixels: NDArray[np.uint8]) -> dict[int, NDArray[np.float32]]:
        """Compute the maps of one picture.

        Args:
            session: A session of ``open``.
            pixels: uint8 (height, width, channels).

        Returns:
            Stage -> map, float32 (1, c, h, w); (2, c, h, w), where the second is of the mirror image, if ``features``
            says ``flip`` and the graph has another form than ``export`` writes.
        """
        planes = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32)
        found = session.run(list(self.outputs), {INPUT: planes})
        stages = sorted({block.stage for block in self.features.blocks})
        return {stage: map_.astype(np.float32, copy=False) for stage, map_ in zip(stages, found, strict=True)}


def stage_network(encoder: "Encoder") -> StageNetwork | None:
    """Cut the stages out of an encoder's file.

    Args:
        encoder: The encoder.

    Returns:
        The network; None if the graph has another form than those that ``export`` writes.
    """
    import onnx

    features = described(encoder.metadata)
    if features is None:
        return None
    model = onnx.load(encoder.file)
    maps = _ends_of_convolutions(model.graph)
    if len(maps) != len({block.stage for block in features.blocks}):
        return None
    nodes = _without_mirror_image(_nodes_before(model.graph, maps))
    used = {name for node in nodes for name in node.input}
    if INPUT not in used:
        return None
    helper, real = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "stages",
        [helper.make_tensor_value_info(INPUT, real, ["batch", encoder.channels, "height", "width"])],
        [helper.make_tensor_value_info(name, real, None) for name in maps],
        [tensor for tensor in model.graph.initializer if tensor.name in used],
    )
    cut = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    weights = {
        tensor.name: onnx.numpy_helper.to_array(tensor).astype(np.float32)
        for tensor in model.graph.initializer
        if tensor.name in (MEAN, PROJECTION)
    }
    if (features.dim is not None) != (len(weights) == 2):
        return None
    return StageNetwork(cut.SerializeToString(), tuple(maps), features, weights.get(MEAN), weights.get(PROJECTION))


def _ends_of_convolutions(graph: "GraphProto") -> list[str]:
    """Names of the values that leave the convolutional part, in the order of the graph."""
    inside: set[str] = set()
    ends: list[str] = []
    for node in graph.node:
        if node.op_type == "Conv" or (node.op_type in CONVOLUTIONAL and not inside.isdisjoint(node.input)):
            inside.update(node.output)
        else:
            ends += [name for name in node.input if name in inside and name not in ends]
    order = {name: place for place, node in enumerate(graph.node) for name in node.output}
    return sorted(ends, key=order.__getitem__)


def _nodes_before(graph: "GraphProto", names: list[str]) -> list:
    """The nodes that compute some values from ``INPUT``, in the order of the graph."""
    makers = {name: number for number, node in enumerate(graph.node) for name in node.output}
    needed: set[int] = set()
    open_names = list(names)
    while open_names:
        name = open_names.pop()
        if name != INPUT and name in makers and makers[name] not in needed:
            needed.add(makers[name])
            open_names += graph.node[makers[name]].input
    return [graph.node[number] for number in sorted(needed)]


def _without_mirror_image(nodes: list) -> list:
    """The nodes without the mirror image that ``flip`` adds to the batch: mirrored maps are near, in half the time."""
    import onnx

    makers = {name: node for node in nodes for name in node.output}
    for node in nodes:
        if node.op_type == "Concat" and len(node.input) == 2:
            first, second = node.input
            if second in makers and makers[second].op_type == "Slice" and makers[second].input[0] == first:
                kept = [other for other in nodes if other is not makers[second]]
                kept[kept.index(node)] = onnx.helper.make_node("Identity", [first], [node.output[0]])
                return kept
        if node.op_type == "Conv":
            break
    return nodes
