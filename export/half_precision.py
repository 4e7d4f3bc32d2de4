"""A network's graph in half precision: half the file size, and float16 arithmetic on hardware that supports it."""

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

HALVED = ("Conv", "Relu", "MaxPool", "Add", "Gemm")  # the slow operators; means, norms and PCA stay in float32


def in_half(network: ModelProto) -> ModelProto:
    """Copy a network with float16 weights and activations of its convolutions.

    On a GPU, ONNX Runtime computes them in float16. Its CPU provider has no float16 kernels on x86: it folds the casts
    when it loads the file and computes in float32, as fast as the float32 file.

    Args:
        network: The float32 graph.

    Returns:
        The new graph.

    Raises:
        ValueError: A weight is beyond the range of float16 and would become infinite.
    """
    half = ModelProto()
    half.CopyFrom(network)
    graph = half.graph
    float32 = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    inferred = onnx.shape_inference.infer_shapes(network).graph
    values = (*inferred.value_info, *inferred.output)
    floats = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    # Add is also used for shapes, which must stay integers
    halved = {node.output[0] for node in graph.node if node.op_type in HALVED and node.output[0] in floats}
    nodes: list[NodeProto] = []
    cast: set[str] = set()

    def casted(name: str, to: int, suffix: str) -> str:
        if f"{name}_{suffix}" not in cast:
            nodes.append(onnx.helper.make_node("Cast", [name], [f"{name}_{suffix}"], f"{name}_to_{suffix}", to=to))
            cast.add(f"{name}_{suffix}")
        return f"{name}_{suffix}"

    for node in graph.node:
        if node.output[0] in halved:
            for position, name in enumerate(node.input):
                if name in float32:
                    _halve(float32[name])
                elif name and name not in halved:
                    node.input[position] = casted(name, TensorProto.FLOAT16, "half")
        elif node.op_type != "Shape":
            for position, name in enumerate(node.input):
                if name in halved:
                    node.input[position] = casted(name, TensorProto.FLOAT, "single")
        nodes.append(node)
    for output in graph.output:
        if output.name in halved:
            raise ValueError("the last operation must be one that stays in float32")
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    del graph.value_info[:]  # they contain the old types
    onnx.checker.check_model(half, full_check=True)
    return half


def _halve(tensor: TensorProto) -> None:
    values = numpy_helper.to_array(tensor)
    if values.dtype == np.float16:  # shared by two operators
        return
    with np.errstate(over="ignore"):
        halved = values.astype(np.float16)
    if not np.isfinite(halved).all():
        raise ValueError(f"{tensor.name}: weights beyond float16's range")
    tensor.CopyFrom(numpy_helper.from_array(halved, tensor.name))
