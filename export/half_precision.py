"""A network's graph in half precision: half the file, and float16 arithmetic where the hardware has it."""

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

HALVED = ("Conv", "Relu", "MaxPool", "Add", "Gemm")  # what takes the time; means, norms and PCA stay float32


def in_half(network: ModelProto) -> ModelProto:
    """A copy whose convolutions have float16 weights and activations.

    ONNX Runtime computes them in float16 on a GPU. Its CPU provider has no float16 kernels on x86: there it folds the
    casts at load time and computes in float32, as fast as the float32 file.

    Weights beyond float16's range would become infinite; that raises ``ValueError``.
    """
    half = ModelProto()
    half.CopyFrom(network)
    graph = half.graph
    float32 = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    inferred = onnx.shape_inference.infer_shapes(network).graph
    values = (*inferred.value_info, *inferred.output)
    floats = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    # Add also adds up shapes, which stay what they are
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
    del graph.value_info[:]  # they name the old types
    onnx.checker.check_model(half, full_check=True)
    return half


def _halve(tensor: TensorProto) -> None:
    values = numpy_helper.to_array(tensor)
    if values.dtype == np.float16:  # shared by two operations
        return
    with np.errstate(over="ignore"):
        halved = values.astype(np.float16)
    if not np.isfinite(halved).all():
        raise ValueError(f"{tensor.name}: weights beyond float16's range")
    tensor.CopyFrom(numpy_helper.from_array(halved, tensor.name))
