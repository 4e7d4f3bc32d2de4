"""Encoders for ``faults.py``: a small one that works, and ones with the right metadata that do not."""

import random
from pathlib import Path

import onnx
from onnx import TensorProto, helper

SIDE = 8  # pixels
DIM = SIDE * SIDE * 3


def small_encoder(file: Path) -> Path:
    """An encoder whose vector is the image itself, 8 x 8 pixels less mid grey, scaled to unit length."""
    return _write(file, str(SIDE), str(DIM), "images", "vectors", normalised=True, side=SIDE)


def hostile_encoder(file: Path, draw: random.Random) -> Path:
    """The same with one thing wrong."""
    wrong = draw.choice(["size", "dim", "input", "output", "length", "shape", "format"])
    sizes = ("-5", "0", "1000000", "x", "", "7", "1e3")
    return _write(
        file,
        draw.choice(sizes) if wrong == "size" else str(SIDE),
        draw.choice(("-5", "0", "1000000", "x", "191")) if wrong == "dim" else str(DIM),
        "pixels" if wrong == "input" else "images",
        "embedding" if wrong == "output" else "vectors",
        normalised=wrong != "length",
        side=9 if wrong == "shape" else SIDE,
        file_format="other/1" if wrong == "format" else "simsiam-retrieval-encoder/1",
    )


def _write(
    file: Path,
    image_size: str,
    dim: str,
    images: str,
    vectors: str,
    *,
    normalised: bool,
    side: int,
    file_format: str = "simsiam-retrieval-encoder/1",
) -> Path:
    last = helper.make_node("LpNormalization", ["centred"], [vectors], axis=1, p=2)
    nodes = [
        helper.make_node("Cast", [images], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["float", "shape"], ["flat"]),
        helper.make_node("Sub", ["flat", "grey"], ["centred"]),
        last if normalised else helper.make_node("Identity", ["centred"], [vectors]),
    ]
    width = side * side * 3
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(images, TensorProto.UINT8, ["n", side, side, 3])],
        [helper.make_tensor_value_info(vectors, TensorProto.FLOAT, ["n", width])],
        [
            helper.make_tensor("shape", TensorProto.INT64, [2], [-1, width]),
            helper.make_tensor("grey", TensorProto.FLOAT, [1], [127.5]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"format": file_format, "image_size": image_size, "dim": dim})
    onnx.save(model, file)
    return file
