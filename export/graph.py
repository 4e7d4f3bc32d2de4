"""The encoder as one ONNX graph: uint8 pixels -> square -> resample -> normalise -> backbone -> unit vector."""

import warnings
from pathlib import Path

import onnx
import torch
from onnx import ModelProto
from torch import nn

from simsiam_retrieval.encoder.onnx_encoder import FORMAT
from simsiam_retrieval.images.centre_crop import LONG
from simsiam_retrieval.methods.bn_folding import METADATA_KEY, pack_batch_norm, pack_normalisation

from .exported_network import UnitVectors

OPSET = 20  # Resize has antialias from 18; 20 is the newest that both ONNX Runtime 1.30 and the exporter support
PIXELS = "network_pixels"  # input of the network's graph: float32 (batch, channels, size, size) in [0, 255]
VECTORS = "vectors"  # output of the network's graph and of the whole graph

# The geometry of centre_square in images/centre_crop.py. LONG is a fraction, so that integers decide which picture is
# long. uint8 in Resize and exclude_outside=1 make ONNX Runtime's resampling equal to Pillow's within a grey level. One
# side is resampled first and rounded, as in Pillow: the width, or the height if a tall picture is reduced.
_PREPROCESSING = """
<ir_version: 10, opset_import: ["" : {opset}]>
preprocessing (uint8[batch, height, width, {channels}] images) => (float[batch, {channels}, {size}, {size}] pixels)
<int64[1] two = {{2}}, int64[1] channels = {{{channels}}}, int64[2] axes = {{1, 2}}, int64[1] size = {{{size}}},
 int64[1] times = {{{times}}}, int64[1] parts = {{{parts}}}>
{{
  extent = Shape <start = 1, end = 3> (images)
  shorter = ReduceMin <keepdims = 1> (extent)
  longer = ReduceMax <keepdims = 1> (extent)
  most = Mul (shorter, times)
  length = Mul (longer, parts)
  is_long = Greater (length, most)
  side = Where (is_long, extent, shorter)
  over = Sub (extent, side)
  begin = Div (over, two)
  end = Add (begin, side)
  square = Slice (images, begin, end, axes)
  count = Shape <start = 0, end = 1> (images)
  rows, columns = Split <num_outputs = 2> (side)
  tall = Greater (rows, columns)
  shrinks = Greater (rows, size)
  down_first = And (tall, shrinks)
  first_rows = Where (down_first, size, rows)
  first_columns = Where (down_first, columns, size)
  first = Concat <axis = 0> (count, first_rows, first_columns, channels)
  second = Concat <axis = 0> (count, size, size, channels)
  half_resized = Resize <antialias = 1, exclude_outside = 1, mode = "linear",
                         coordinate_transformation_mode = "half_pixel"> (square, , , first)
  resized = Resize <antialias = 1, exclude_outside = 1, mode = "linear",
                    coordinate_transformation_mode = "half_pixel"> (half_resized, , , second)
  planes = Transpose <perm = [0, 3, 1, 2]> (resized)
  pixels = Cast <to = 1> (planes)
}}
"""


def build_graph(network: UnitVectors, image_size: int, metadata: dict[str, str]) -> ModelProto:
    """Build the complete float32 encoder.

    Args:
        network: The network.
        image_size: Side of the square in pixels.
        metadata: Facts for the file's ``metadata_props``.

    Returns:
        The graph.
    """
    facts = {**metadata, **trainable_facts(network)}
    return with_preprocessing(network_graph(network, image_size), image_size, facts)


def trainable_facts(network: UnitVectors) -> dict[str, str]:
    """Return the metadata with which a float file can be trained again (``methods/bn_folding.py``).

    Args:
        network: The network.

    Returns:
        Metadata; empty unless the network is a backbone or its first stages.
    """
    if network.trainable is None:
        return {}
    return {METADATA_KEY: pack_batch_norm(network.trainable)}


def network_graph(network: UnitVectors, image_size: int) -> ModelProto:
    """Export the network alone, ``PIXELS`` -> ``VECTORS``, with BatchNorm folded into the convolutions.

    Args:
        network: The network.
        image_size: Side of the square in pixels.

    Returns:
        The graph.
    """
    # with a batch of 1 the exporter would make the batch size constant
    example = torch.zeros(2, len(network.normalisation.mean), image_size, image_size)  # type: ignore[union-attr]
    model = _export(network, example)
    for node in model.graph.node:  # the exporter writes Python stack traces into the file
        del node.metadata_props[:]
    for value in model.graph.value_info:
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    for entry in pack_normalisation(network.normalisation).items():  # type: ignore[arg-type]
        model.metadata_props.add(key=entry[0], value=entry[1])
    return model


def _export(network: nn.Module, example: torch.Tensor) -> ModelProto:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            (example,),
            input_names=[PIXELS],
            output_names=[VECTORS],
            dynamic_shapes={"pixels": {0: torch.export.Dim("batch")}},
            opset_version=OPSET,
            dynamo=True,
            optimize=True,
            verbose=False,
        )
    assert program is not None
    return program.model_proto


def with_preprocessing(network: ModelProto, image_size: int, metadata: dict[str, str]) -> ModelProto:
    """Put the preprocessing before a network's graph, add metadata, and check the result.

    Preprocessing works on uint8, so it is exact for every precision of the network.

    Args:
        network: The network's graph.
        image_size: Side of the square in pixels.
        metadata: Facts for the file's ``metadata_props``.

    Returns:
        The complete encoder.
    """
    times, parts = LONG.as_integer_ratio()
    channels = network.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    text = _PREPROCESSING.format(opset=OPSET, size=image_size, times=times, parts=parts, channels=channels)
    preprocessing = onnx.parser.parse_model(text)
    preprocessing.ir_version = network.ir_version
    facts = {entry.key: entry.value for entry in network.metadata_props}
    bare = ModelProto()
    bare.CopyFrom(network)
    del bare.metadata_props[:]
    graph = onnx.compose.merge_models(preprocessing, bare, io_map=[("pixels", PIXELS)])
    graph.producer_name = "simsiam-retrieval"
    for value in (*graph.graph.input, *graph.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    dim = graph.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    own = {"format": FORMAT, "image_size": str(image_size), "dim": str(dim), "opset": str(OPSET)}
    onnx.helper.set_model_props(graph, {**own, **metadata, **facts})
    onnx.checker.check_model(graph, full_check=True)
    return graph


def save(graph: ModelProto, file: Path) -> None:
    """Write a graph to a file.

    Args:
        graph: The graph.
        file: The file.
    """
    file.write_bytes(graph.SerializeToString(deterministic=True))
