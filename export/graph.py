"""The encoder as one ONNX graph: uint8 pixels -> square -> resample -> normalise -> backbone -> unit vector."""

import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import ModelProto, TensorProto, numpy_helper
from torch import Tensor, nn

from simsiam_retrieval.encoder import FORMAT
from simsiam_retrieval.siamese.folded import METADATA_KEY, pack_batch_norm, pack_normalisation

OPSET = 20  # Resize has antialias from 18; 20 is the newest that ONNX Runtime 1.30 and the exporter share

# uint8 in Resize and exclude_outside=1 make ONNX Runtime's resampling equal to Pillow's, within a grey level.
_PREPROCESSING = """
<ir_version: 10, opset_import: ["" : {opset}]>
preprocessing (uint8[batch, height, width, 3] images) => (float[batch, 3, {size}, {size}] pixels)
<int64[1] two = {{2}}, int64[2] axes = {{1, 2}}, int64[3] target = {{{size}, {size}, 3}}>
{{
  extent = Shape <start = 1, end = 3> (images)
  side = ReduceMin <keepdims = 1> (extent)
  over = Sub (extent, side)
  begin = Div (over, two)
  end = Add (begin, side)
  square = Slice (images, begin, end, axes)
  count = Shape <start = 0, end = 1> (images)
  sizes = Concat <axis = 0> (count, target)
  resized = Resize <antialias = 1, exclude_outside = 1, mode = "linear",
                    coordinate_transformation_mode = "half_pixel"> (square, , , sizes)
  planes = Transpose <perm = [0, 3, 1, 2]> (resized)
  pixels = Cast <to = 1> (planes)
}}
"""


class UnitVectors(nn.Module):
    """Backbone with its normalisation before and unit length after: float (n, 3, s, s) in [0, 255] -> (n, dim)."""

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        mean, std = (255 * torch.tensor(values)[:, None, None] for values in backbone.normalisation)  # type: ignore[union-attr]
        self.register_buffer("pixel_mean", mean)
        self.register_buffer("pixel_std", std)

    def forward(self, pixels: Tensor) -> Tensor:
        return F.normalize(self.backbone((pixels - self.pixel_mean) / self.pixel_std), dim=1)


def build_graph(backbone: nn.Module, image_size: int, metadata: dict[str, str]) -> ModelProto:
    """The whole encoder for a backbone in eval mode; ``metadata`` goes into the file's ``metadata_props``."""
    network = _export(UnitVectors(backbone).eval(), image_size)
    preprocessing = onnx.parser.parse_model(_PREPROCESSING.format(opset=OPSET, size=image_size))
    preprocessing.ir_version = network.ir_version
    graph = onnx.compose.merge_models(preprocessing, network, io_map=[("pixels", "network_pixels")])
    graph.producer_name = "simsiam-retrieval"
    for value in (*graph.graph.input, *graph.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    dim = graph.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    facts = {"format": FORMAT, "image_size": str(image_size), "dim": str(dim), "opset": str(OPSET)}
    normalisation = pack_normalisation(backbone.normalisation)  # type: ignore[arg-type]
    onnx.helper.set_model_props(graph, {**facts, **metadata, **normalisation, METADATA_KEY: pack_batch_norm(backbone)})
    onnx.checker.check_model(graph, full_check=True)
    return graph


def _export(module: nn.Module, image_size: int) -> ModelProto:
    # a batch of 1 would freeze the dimension
    example = torch.zeros(2, 3, image_size, image_size)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            (example,),
            input_names=["network_pixels"],
            output_names=["vectors"],
            dynamic_shapes={"pixels": {0: torch.export.Dim("batch")}},
            opset_version=OPSET,
            dynamo=True,
            optimize=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    for node in model.graph.node:  # the exporter leaves Python stack traces in the file
        del node.metadata_props[:]
    for value in model.graph.value_info:
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    return model


def store_half(graph: ModelProto) -> ModelProto:
    """A copy whose large weights are stored as float16 and cast back to float32 when the model is loaded.

    Half the file at the full speed of float32: ONNX Runtime folds the casts once, at load time.
    """
    half = ModelProto()
    half.CopyFrom(graph)
    casts = []
    for index, tensor in enumerate(half.graph.initializer):
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.size < 1024:
            continue
        name = tensor.name
        stored = numpy_helper.from_array(values.astype(np.float16), f"{name}_half")
        half.graph.initializer[index].CopyFrom(stored)
        casts.append(onnx.helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
    for position, node in enumerate(casts):
        half.graph.node.insert(position, node)
    onnx.checker.check_model(half, full_check=True)
    return half


def save(graph: ModelProto, file: Path) -> None:
    """Write the model to ``file``."""
    file.write_bytes(graph.SerializeToString(deterministic=True))
