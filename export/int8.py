"""A network's graph in 8-bit integers: static, QDQ, one scale per output channel, ranges from real images."""

import contextlib
import io
import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    create_calibrator,
    quantize_static,
    save_tensors_data,
)
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.shape_inference import quant_pre_process

from .equalise_channels import Streams, channel_ranges, equalised
from .graph import PIXELS

QUANTISED = ("Conv", "Relu", "MaxPool", "Add")
PERCENTILE = 99.999  # percentage of a tensor's values within its range; docs/export.md has the alternatives
BATCH_PIXELS = 1 << 16  # input pixels per calibration batch: all its activations are in memory at once


@dataclass(frozen=True)
class Calibrated:
    """A float network prepared for 8 bits, and the ranges of its tensors."""

    network: ModelProto
    ranges: TensorsData

    def quantised(self, float_layers: int = 0) -> ModelProto:
        """Quantise the network.

        Activations are unsigned with a zero point; weights are signed, per output channel. ONNX Runtime's x86 kernels
        use this form without conversion. On CPUs without VNNI sums may saturate, so there the weights have 7 bits.

        Args:
            float_layers: Number of first convolutions that stay in float32.

        Returns:
            The quantised graph.
        """
        skipped = self._float_nodes(float_layers)
        with _quietly() as folder:
            save_tensors_data(self.ranges, folder / "ranges.json")
            quantize_static(
                self.network,
                folder / "quantised.onnx",
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(QUANTISED),
                nodes_to_exclude=skipped,
                per_channel=True,
                reduce_range=not has_vnni(),
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.Percentile,
                calibration_cache_path=folder / "ranges.json",
            )
            quantised = onnx.load(folder / "quantised.onnx")
        return _tidied(quantised, self.network)

    def _float_nodes(self, float_layers: int) -> list[str]:
        """Names of the nodes that are not quantised: shape arithmetic, and all before the first integer convolution."""
        nodes = self.network.graph.node
        integers = {t.name for t in self.network.graph.initializer if t.data_type != TensorProto.FLOAT}
        skipped = [n.name for n in nodes if n.op_type in QUANTISED and not integers.isdisjoint(n.input)]
        convolutions = [index for index, node in enumerate(nodes) if node.op_type == "Conv"]
        if float_layers:
            after = convolutions[float_layers] if float_layers < len(convolutions) else len(nodes)
            skipped += [node.name for node in nodes[:after]]
        return skipped


def calibrate(
    network: ModelProto, squares: NDArray[np.uint8], on_batch: Callable[[int], None] = lambda images: None
) -> Calibrated:
    """Equalise the channels of a network, and measure the ranges of its tensors.

    Args:
        network: The float32 graph.
        squares: uint8 (n, s, s, 3).
        on_batch: Called with the number of further images that are done; each image is counted twice, because the
            channels are measured first.

    Returns:
        The prepared network and its ranges.
    """
    metadata = {entry.key: entry.value for entry in network.metadata_props}
    size = max(1, min(64, BATCH_PIXELS // squares[0, ..., 0].size))
    with _quietly() as folder:
        onnx.save(network, folder / "network.onnx")
        quant_pre_process(folder / "network.onnx", folder / "prepared.onnx", skip_symbolic_shape=True)
        prepared = onnx.load(folder / "prepared.onnx")
        even = equalised(prepared, channel_ranges(_activations(prepared, squares, size, on_batch)))
        onnx.save(even, folder / "even.onnx")
        calibrator = create_calibrator(
            folder / "even.onnx",
            list(QUANTISED),
            augmented_model_path=str(folder / "augmented.onnx"),
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={"percentile": PERCENTILE},
        )
        for batch in _batches(squares, size):
            calibrator.collect_data(_Reader([{PIXELS: batch}]))  # it keeps a call's activations in memory
            on_batch(len(batch))
        ranges = calibrator.compute_data()
    onnx.helper.set_model_props(even, metadata)
    return Calibrated(even, ranges)


def has_vnni() -> bool:
    """Return whether this CPU multiplies 8-bit integers without saturation.

    Returns:
        True also if it is unknown.
    """
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True
    flags = [
        line for line in text.splitlines() if line.startswith("flags")
    ]  # ARM has "Features" instead, and does not saturate
    return not flags or "vnni" in flags[0]


class _Reader(CalibrationDataReader):
    def __init__(self, feeds: list[dict[str, NDArray[np.float32]]]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:  # type: ignore[override]
        return next(self._feeds, None)


def _batches(squares: NDArray[np.uint8], size: int) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(squares), size):
        yield np.ascontiguousarray(squares[start : start + size].transpose(0, 3, 1, 2), dtype=np.float32)


def _activations(
    network: ModelProto, squares: NDArray[np.uint8], size: int, on_batch: Callable[[int], None]
) -> Iterator[dict[str, NDArray[np.float32]]]:
    names = Streams(network).tensors
    opened = ModelProto()
    opened.CopyFrom(network)
    for name in names:
        opened.graph.output.append(onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(opened.SerializeToString(), providers=["CPUExecutionProvider"])
    for batch in _batches(squares, size):
        yield dict(zip(names, map(np.asarray, session.run(names, {PIXELS: batch})), strict=True))
        on_batch(len(batch))


@contextlib.contextmanager
def _quietly() -> Iterator[Path]:
    """A temporary folder; inside the block, the quantiser's prints and logs are suppressed."""
    before = logging.root.manager.disable
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(io.StringIO()):
        logging.disable(logging.WARNING)
        try:
            yield Path(name)
        finally:
            logging.disable(before)


def _tidied(quantised: ModelProto, network: ModelProto) -> ModelProto:
    """The quantised model with the opsets and metadata of the float one."""
    quantised.ir_version = network.ir_version
    del quantised.opset_import[:]  # the quantiser lists the standard opset twice, and its own, which is not used
    quantised.opset_import.extend(network.opset_import)
    onnx.helper.set_model_props(quantised, {entry.key: entry.value for entry in network.metadata_props})
    return quantised
