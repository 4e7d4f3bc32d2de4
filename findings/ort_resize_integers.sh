#!/usr/bin/env bash
# ONNX Runtime: Resize of uint8 cuts off fractions, rounds with antialias, and then loses negative int8
#
# Versions:  onnxruntime 1.32.0, onnx 1.23.2, numpy 2.4.6; Python 3.11 on Linux x86-64, November 2026
# Guess:     Linear Resize of uint8 rounds to the nearest level, with and without antialias; int8 keeps its negative
#            values in both.
# Behaviour: Without antialias uint8 is truncated: every picture gets darker by half a level on average. With
#            antialias it is rounded. int8 without antialias keeps negative values, with antialias everything below
#            zero comes out as 0, without a word; int32 is right. So preprocessing in the graph must be uint8 with
#            antialias, and pixels must not be centred before they are resized.
# Output seen:
#   antialias 0: uint8 minus float on average -0.49 levels; lowest value of float32, int32, int8: -117.9, -117.0, -117.0
#   antialias 1: uint8 minus float on average -0.00 levels; lowest value of float32, int32, int8: -68.6, -69.0, 0.0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --no-compile --disable-pip-version-check onnxruntime==1.32.0 \
  onnx==1.23.2 \
  numpy==2.4.6 >pip.log 2>&1 ||
  { cat pip.log >&2; echo "not run: packages could not be installed" >&2; exit 2; }
venv/bin/python - <<'EOF'
import numpy as np
import onnxruntime
from onnx import TensorProto, helper

KINDS = {"uint8": TensorProto.UINT8, "int8": TensorProto.INT8, "int32": TensorProto.INT32, "float32": TensorProto.FLOAT}
options = onnxruntime.SessionOptions()
options.log_severity_level = 4


def resize(pixels, antialias):
    kind = KINDS[str(pixels.dtype)]
    graph = helper.make_graph(
        [helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], mode="linear", antialias=antialias)],
        "resize",
        [
            helper.make_tensor_value_info("x", kind, None),
            helper.make_tensor_value_info("sizes", TensorProto.INT64, [4]),
        ],
        [helper.make_tensor_value_info("y", kind, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": pixels, "sizes": np.array([1, 3, 17, 19])})[0]


pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 37, 41)).astype("uint8")
difference, lowest = {}, {}
for antialias in (0, 1):
    exact = resize(pixels.astype("float32"), antialias)
    difference[antialias] = float((resize(pixels, antialias) - exact).mean())
    centred = (pixels.astype(int) - 128).astype("int8")
    lowest[antialias] = [float(resize(centred.astype(kind), antialias).min()) for kind in ("float32", "int32", "int8")]
    print(f"antialias {antialias}: uint8 minus float on average {difference[antialias]:+.2f} levels;", end=" ")
    print("lowest value of float32, int32, int8: " + ", ".join(f"{v:.1f}" for v in lowest[antialias]))
assert -0.55 < difference[0] < -0.45 and abs(difference[1]) < 0.05
assert lowest[0][2] < -50 and lowest[1][1] < -50 and lowest[1][2] == 0
EOF
