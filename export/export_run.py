"""Exporting a run: each file is written only if it agrees with the PyTorch model."""

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx import ModelProto

from simsiam_retrieval.core.atomic_files import replacing
from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.core.paths import absolute
from simsiam_retrieval.core.progress import bar
from simsiam_retrieval.encoder.onnx_encoder import Encoder
from simsiam_retrieval.training.run_folder import Run

from .check_parity import Parity, in_batches, measure, neighbour_recall, torch_vectors
from .export_report import COMPUTES, FILES, Exported, add_to_report
from .export_settings import BOUNDS as BOUNDS  # the first home of these three names
from .export_settings import Bound as Bound
from .export_settings import Settings as Settings
from .graph import OPSET, save, trainable_facts, with_preprocessing
from .half_precision import in_half
from .int8 import PERCENTILE, Calibrated, calibrate
from .prepare_export import Prepared, prepare

FLOAT_LAYERS = (0, 1, 3, 5)  # int8: numbers of first convolutions in float32 that are tried until recall is enough
MARGIN = 0.005  # recall above the bound that the calibration images must have, because ranges are fitted to them
EQUAL_WHOLE = 0.99  # smallest cosine between vectors of Pillow's crop and of the graph's own


def export_run(run: Path, file: Path, *, precision: str = "fp32", image_size: int | None = None) -> Parity:
    """Export the backbone of a run, with preprocessing and l2-normalisation in the graph.

    This is the simple form of ``export_files``.

    Args:
        run: The run folder.
        file: The ONNX file to write.
        precision: "fp32", "fp16" or "int8".
        image_size: Side in pixels at which images are embedded; None for that of training.

    Returns:
        Differences to the PyTorch model.

    Raises:
        UserError: The file does not meet its bound, or the run is damaged.
    """
    (exported,) = export_files(run, {precision: file}, Settings(image_size=image_size))
    if exported.refused is not None:
        raise UserError(exported.refused)
    return exported.parity


def export_files(
    run: Path, files: Mapping[str, Path], settings: Settings, say: Callable[[str], None] = lambda text: None
) -> list[Exported]:
    """Export a run to several files, and add the measurements to ``export.json``.

    Each file is compared with PyTorch on held-out images. A file below its bound is not written, unless
    ``settings.force``; its ``refused`` says why. The other files are written.

    Args:
        run: The run folder.
        files: Precision -> file to write.
        settings: What is exported.
        say: Called with messages about decisions.

    Returns:
        The results.

    Raises:
        UserError: The run is damaged, images are missing, or a file cannot be written.
    """
    settings.check()
    Run(run).config()  # fails first if it is no run folder
    for precision, file in files.items():
        if precision not in FILES:
            raise UserError(f"--precision {precision}: choose from {', '.join(FILES)}")
        if not absolute(file).parent.is_dir():
            raise UserError(f"{file}: cannot write the encoder (its folder does not exist)")
        if file.is_dir():
            raise UserError(f"{file}: a folder; name the file to write")
    prepared = prepare(run, settings, say, needs_calibration="int8" in files)
    if "int8" in files and prepared.examples and settings.calibrate is None:
        say("int8 is calibrated on the example photos, as the run's own images are not here; --calibrate names others")
    job = _Job(settings, prepared)
    return [job.export(precision, file, say) for precision, file in files.items()]


@dataclass
class _Job:
    """A prepared network that is exported to one or several files."""

    settings: Settings
    prepared: Prepared

    def export(self, precision: str, file: Path, say: Callable[[str], None]) -> Exported:
        """Write a file if it meets its bound, and report it.

        Args:
            precision: "fp32", "fp16" or "int8".
            file: The file to write.
            say: Called with messages.

        Returns:
            The result.

        Raises:
            UserError: The file cannot be written.
        """
        graph = self._in_precision(precision, say)
        with tempfile.TemporaryDirectory() as folder:
            temporary = Path(folder) / FILES[precision]
            save(graph, temporary)
            content = temporary.read_bytes()
            parity = measure(self.prepared.reference, Encoder(temporary, device="cpu"))
        fault = _fault(parity, precision, self.prepared.network.reduced)
        refused = f"{file}: not written: {fault}" if fault is not None and not self.settings.force else None
        exported = Exported(file, precision, parity, len(content), self.prepared.checked_on, refused)
        if refused is not None:
            return exported
        if fault is not None:
            say(f"{file}: written because of --force; {fault}")
        try:
            with replacing(file) as temporary:
                temporary.write_bytes(content)
            add_to_report(exported, self._facts(graph, content, fault))
        except OSError as error:
            raise UserError(f"{file}: cannot write the encoder ({error.strerror})") from None
        return exported

    def _in_precision(self, precision: str, say: Callable[[str], None]) -> ModelProto:
        metadata = {**self.prepared.metadata, "precision": precision, "computes_in": COMPUTES[precision]}
        if precision == "int8":
            network, quantisation = self._quantised(say)
            return with_preprocessing(network, self.prepared.size, {**metadata, "quantisation": quantisation})
        network = self.prepared.graph
        if precision == "fp16":
            try:
                network = in_half(network)
            except ValueError as error:
                raise UserError(f"--precision fp16: {error}; export fp32 or int8") from None
        return with_preprocessing(network, self.prepared.size, {**metadata, **trainable_facts(self.prepared.network)})

    def _quantised(self, say: Callable[[str], None]) -> tuple[ModelProto, str]:
        assert self.prepared.calibration is not None
        pixels = self.prepared.calibration.pixels
        with bar("calibrating", 2 * len(pixels)) as shown:
            calibrated = calibrate(self.prepared.graph, pixels, shown.advance)
        layers = self.settings.float_layers
        if layers is None:
            layers = self._fewest_float_layers(calibrated, say)
        how = f"static QDQ, weights per output channel, {PERCENTILE} % ranges of {len(pixels)} images"
        return calibrated.quantised(layers), f"{how}; first {layers} convolutions in float32" if layers else how

    def _fewest_float_layers(self, calibrated: Calibrated, say: Callable[[str], None]) -> int:
        """The smallest of ``FLOAT_LAYERS`` with enough recall on the calibration images, or the best of them."""
        assert self.prepared.calibration is not None
        pixels = self.prepared.calibration.pixels
        wanted = torch_vectors(self.prepared.network, pixels)
        recalls: dict[int, float] = {}
        read_as = {key: value for key, value in self.prepared.metadata.items() if key == "reading"}
        for layers in FLOAT_LAYERS:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "trial.onnx"
                save(with_preprocessing(calibrated.quantised(layers), self.prepared.size, read_as), file)
                recalls[layers] = neighbour_recall(wanted, in_batches(Encoder(file, device="cpu"), pixels))
            if recalls[layers] >= BOUNDS["int8"].recall_at_10 + MARGIN:
                break
        best = max(recalls, key=lambda layers: recalls[layers])
        tried = ", ".join(f"{layers}: {recall:.3f}" for layers, recall in recalls.items())
        say(f"int8: recall@10 on the calibration images by convolutions left in float32: {tried}; took {best}")
        return best

    def _facts(self, graph: ModelProto, content: bytes, fault: str | None) -> dict[str, Any]:
        facts = {entry.key: entry.value for entry in graph.metadata_props if len(entry.value) < 1000}
        return {
            **facts,
            "image_size": self.prepared.size,
            "dim": int(facts["dim"]),
            "opset": OPSET,
            "sha256": hashlib.sha256(content).hexdigest(),
            "checked_on": self.prepared.checked_on,
            "below_bound": fault,
            "least_recall_at_10": BOUNDS[facts["precision"]].recall_at_10,
        }


def _fault(parity: Parity, precision: str, reduced: bool) -> str | None:
    bound = BOUNDS[precision]
    # PCA whitening enlarges small differences, even rounding errors of float32
    largest = bound.largest_difference * (10 if reduced else 1)
    if not parity.largest_difference <= largest:  # in this form NaN is a fault, too
        return f"it differs from the torch model by {parity.largest_difference:.2g} (limit {largest:.2g})"
    if parity.recall_at_10 < bound.recall_at_10:
        help = "--force writes it" + ("; --float-layers 9 helps" if precision == "int8" else "")
        return f"recall@10 against torch's neighbours is {parity.recall_at_10:.3f} (limit {bound.recall_at_10}; {help})"
    if parity.smallest_cosine_whole < EQUAL_WHOLE:
        return f"cosine of whole images is {parity.smallest_cosine_whole:.5f} (limit {EQUAL_WHOLE})"
    return None
