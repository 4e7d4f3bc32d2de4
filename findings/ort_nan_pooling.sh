#!/usr/bin/env bash
# ONNX Runtime: a NaN in a feature map is nearly always lost in a maximum, and never in a mean
#
# Versions:  onnxruntime 1.32.0, onnx 1.23.2, numpy 2.4.6; Python 3.11 on Linux x86-64, November 2026
# Guess:     A NaN in a feature map comes out of every maximum (MaxPool, GlobalMaxPool, ReduceMax); ArgMax points at
#            it, as in numpy and PyTorch.
# Behaviour: MaxPool and GlobalMaxPool over a 7 x 7 map return a clean number for 48 of 49 places of the NaN,
#            ReduceMax for all but the first place; ArgMax points at a NaN only where it stands first. Relu and
#            averages pass it on. So whether an overflow in the network reaches the vector, where it could be seen,
#            depends on the pooling and on luck; a ResNet has a MaxPool in its stem.
# Output seen:
#   A NaN survives in so many of 49 places: MaxPool 1, GlobalMaxPool 1, ReduceMax 1, Relu 49, GlobalAveragePool 49
#   ArgMax of [NaN, 1, 3] and of [1, NaN, 3]: [0, 2]; numpy: 0 and 1
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

options = onnxruntime.SessionOptions()
options.log_severity_level = 4


def run(operator, x, **attributes):
    out = TensorProto.INT64 if operator == "ArgMax" else TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node(operator, ["x"], ["y"], **attributes)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info("y", out, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def survives(operator, **attributes):
    """In how many of the 49 places of a 7 x 7 map a NaN reaches the output."""
    count = 0
    for place in range(49):
        maps = np.linspace(-1, 1, 49, dtype="float32").reshape(1, 1, 7, 7).copy()
        maps.flat[place] = np.nan
        count += bool(np.isnan(run(operator, maps, **attributes)).any())
    return count


counts = {
    "MaxPool": survives("MaxPool", kernel_shape=[7, 7]),
    "GlobalMaxPool": survives("GlobalMaxPool"),
    "ReduceMax": survives("ReduceMax"),
    "Relu": survives("Relu"),
    "GlobalAveragePool": survives("GlobalAveragePool"),
}
print("A NaN survives in so many of 49 places: " + ", ".join(f"{name} {count}" for name, count in counts.items()))
places = [int(run("ArgMax", np.array([row], "float32"), axis=1)[0, 0]) for row in ([np.nan, 1, 3], [1, np.nan, 3])]
print(f"ArgMax of [NaN, 1, 3] and of [1, NaN, 3]: {places}; numpy: 0 and 1")
# which place it is may depend on the processor
assert max(counts[name] for name in ("MaxPool", "GlobalMaxPool", "ReduceMax")) < 10, counts
assert counts["Relu"] == counts["GlobalAveragePool"] == 49, counts
assert places == [0, 2]
EOF
