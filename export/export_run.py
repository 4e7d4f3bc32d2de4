"""Exporting a run: each file is written only if it agrees with the PyTorch model."""

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch
from onnx import ModelProto

from simsiam_retrieval.core.atomic_files import replacing
from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.core.paths import absolute
from simsiam_retrieval.core.progress import bar
from simsiam_retrieval.core.version import __version__
from simsiam_retrieval.encoder.onnx_encoder import Encoder
from simsiam_retrieval.evaluation.extractors import weights_hash
from simsiam_retrieval.images.reading import Reading
from simsiam_retrieval.methods.feature_description import METADATA_KEY, WHOLE, Features
from simsiam_retrieval.methods.pooling import PooledStages
from simsiam_retrieval.metrics.whitening import COMPONENTS, FEWEST, Whitening, fit_whitening, power_for
from simsiam_retrieval.training.config import Config
from simsiam_retrieval.training.run_folder import Run, load_backbone

from .check_parity import Parity, Reference, in_batches, measure, neighbour_recall, refer, torch_vectors
from .export_report import COMPUTES, FILES, Exported, add_to_report
from .exported_network import UnitVectors, with_projector
from .graph import OPSET, network_graph, save, trainable_facts, with_preprocessing
from .half_precision import in_half
from .held_out_images import HELD_OUT_IMAGES, Split, Squares, choose, decoded
from .int8 import PERCENTILE, Calibrated, calibrate

FLOAT_LAYERS = (0, 1, 3, 5)  # int8: numbers of first convolutions in float32 that are tried until recall is enough
MARGIN = 0.005  # recall above the bound that the calibration images must have, because ranges are fitted to them
EQUAL_WHOLE = 0.99  # smallest cosine between vectors of Pillow's crop and of the graph's own


@dataclass(frozen=True)
class Bound:
    """The limits that a file must meet on held-out images to be written.

    Attributes:
        largest_difference: Of a component of a unit vector.
        recall_at_10: Smallest recall@10.
    """

    largest_difference: float
    recall_at_10: float


BOUNDS = {"fp32": Bound(1e-4, 0.99), "fp16": Bound(5e-3, 0.97), "int8": Bound(2.0, 0.95)}


@dataclass(frozen=True)
class Settings:
    """What is exported, and the images that it is fitted to and checked on.

    Attributes:
        image_size: Side in pixels at which images are embedded; None for that of training.
        features: A feature description, see ``simsiam_retrieval/methods/feature_description.py``.
        layer: Layer whose features are used.
        with_projector: Whether to use the projector's output.
        dim: Numbers kept by PCA.
        whiten: Whether to whiten.
        whiten_power: Power of the whitening; None for ``power_for``.
        float_layers: Convolutions that int8 leaves in float32; None for as few as reach the bound.
        calibrate: Folder of images for calibration.
        fit: Folder of images for PCA.
        held_out: Folder of images for the check.
        images: Number of images for the check.
        licence: Licence of the weights.
        force: Whether to write a file below its bound.
    """

    image_size: int | None = None
    features: str | None = None
    layer: str | None = None
    with_projector: bool = False
    dim: int | None = None
    whiten: bool = False
    whiten_power: float | None = None
    float_layers: int | None = None
    calibrate: Path | None = None
    fit: Path | None = None
    held_out: Path | None = None
    images: int = HELD_OUT_IMAGES
    licence: str | None = None
    force: bool = False

    def check(self) -> None:
        """Check all values before anything is loaded.

        Raises:
            UserError: A value or a combination is wrong.
        """
        if self.image_size is not None and not 8 <= self.image_size <= 2048:
            raise UserError(f"--image-size {self.image_size} is out of range; give 8 to 2048")
        if self.features is not None:
            asked = Features.parse(self.features)
            if self.layer is not None or self.with_projector:
                raise UserError("--features describes the features completely; leave out --layer and --with-projector")
            if asked.dim is not None and (self.dim is not None or self.whiten):
                raise UserError(f"--features {self.features} has PCA in it; leave out --dim and --whiten")
        if self.layer is not None and self.with_projector:
            raise UserError("--layer cannot be combined with --with-projector: the projector reads the last layer")
        if self.dim is not None and self.dim < 1:
            raise UserError(f"--dim {self.dim}: give at least 1")
        if self.images < 20:
            raise UserError(f"--images {self.images}: give at least 20; recall among fewer means nothing")
        if self.float_layers is not None and self.float_layers < 0:
            raise UserError(f"--float-layers {self.float_layers}: give 0 or more")
        if self.fit is not None and not self.reduces:
            raise UserError("--fit needs --dim or --whiten")
        if self.whiten_power is not None and not 0 < self.whiten_power <= 1:
            raise UserError(f"--whiten-power {self.whiten_power:g}: give more than 0 and at most 1")
        if self.whiten_power not in (None, 1) and not self.whiten:
            raise UserError("--whiten-power needs whitening; add --whiten")

    @property
    def reduces(self) -> bool:
        """Whether there is a PCA."""
        described = self.features is not None and Features.parse(self.features).dim is not None
        return described or self.dim is not None or self.whiten


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
    job = _prepare(run, settings, say, needs_calibration="int8" in files)
    if "int8" in files and job.examples and settings.calibrate is None:
        say("int8 is calibrated on the example photos, as the run's own images are not here; --calibrate names others")
    return [job.export(precision, file, say) for precision, file in files.items()]


@dataclass
class _Job:
    """A prepared network that is exported to one or several files."""

    settings: Settings
    size: int
    network: UnitVectors
    graph: ModelProto
    reference: Reference
    checked_on: str
    examples: bool  # whether the example photos replace the run's own images
    calibration: Squares | None
    metadata: dict[str, str]

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
            parity = measure(self.reference, Encoder(temporary, device="cpu"))
        fault = _fault(parity, precision, self.network.reduced)
        refused = f"{file}: not written: {fault}" if fault is not None and not self.settings.force else None
        exported = Exported(file, precision, parity, len(content), self.checked_on, refused)
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
        metadata = {**self.metadata, "precision": precision, "computes_in": COMPUTES[precision]}
        if precision == "int8":
            network, quantisation = self._quantised(say)
            return with_preprocessing(network, self.size, {**metadata, "quantisation": quantisation})
        network = self.graph
        if precision == "fp16":
            try:
                network = in_half(network)
            except ValueError as error:
                raise UserError(f"--precision fp16: {error}; export fp32 or int8") from None
        return with_preprocessing(network, self.size, {**metadata, **trainable_facts(self.network)})

    def _quantised(self, say: Callable[[str], None]) -> tuple[ModelProto, str]:
        assert self.calibration is not None
        pixels = self.calibration.pixels
        with bar("calibrating", 2 * len(pixels)) as shown:
            calibrated = calibrate(self.graph, pixels, shown.advance)
        layers = self.settings.float_layers
        if layers is None:
            layers = self._fewest_float_layers(calibrated, say)
        how = f"static QDQ, weights per output channel, {PERCENTILE} % ranges of {len(pixels)} images"
        return calibrated.quantised(layers), f"{how}; first {layers} convolutions in float32" if layers else how

    def _fewest_float_layers(self, calibrated: Calibrated, say: Callable[[str], None]) -> int:
        """The smallest of ``FLOAT_LAYERS`` with enough recall on the calibration images, or the best of them."""
        assert self.calibration is not None
        pixels = self.calibration.pixels
        wanted = torch_vectors(self.network, pixels)
        recalls: dict[int, float] = {}
        read_as = {key: value for key, value in self.metadata.items() if key == "reading"}
        for layers in FLOAT_LAYERS:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "trial.onnx"
                save(with_preprocessing(calibrated.quantised(layers), self.size, read_as), file)
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
            "image_size": self.size,
            "dim": int(facts["dim"]),
            "opset": OPSET,
            "sha256": hashlib.sha256(content).hexdigest(),
            "checked_on": self.checked_on,
            "below_bound": fault,
            "least_recall_at_10": BOUNDS[facts["precision"]].recall_at_10,
        }


def _prepare(run: Path, settings: Settings, say: Callable[[str], None], *, needs_calibration: bool) -> _Job:
    backbone, config = load_backbone(run)
    described = Run(run).read()
    size = _size(settings, described, config, say)
    split = choose(
        [Path(root) for root in described.get("data", {}).get("roots", [])],
        calibrate=settings.calibrate,
        fit=settings.fit,
        held_out=settings.held_out,
        images=settings.images,
    )
    features = _features(settings, described, say)
    projector = with_projector(run) if settings.with_projector else None
    first = backbone if features is None else PooledStages(backbone, features, size)
    network = UnitVectors(first, layer=settings.layer, projector=projector)
    what = f"layer {settings.layer}, averaged over the image" if settings.layer else WHOLE
    metadata = {
        "backbone": config.backbone,
        "stem": config.stem,
        **_training(config, described, settings.licence),
        METADATA_KEY: "projector" if projector is not None else what,
        "data_fingerprint": str(described.get("data", {}).get("fingerprint", "unknown")),
        "source_run": str(described.get("started", "unknown")),
        "trained_with": _versions(described.get("versions", {})),
        "exported_with": f"torch {torch.__version__}, onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}",
        "version": __version__,
    }
    reading = config.reading
    if reading != Reading():
        metadata["reading"] = reading.text()
    wanted = _reduction(settings, features)
    if wanted is not None:
        squares = decoded(split.fitting, size, "decoding images for PCA", reading)
        vectors = torch.from_numpy(torch_vectors(network, squares.pixels))
        reduction, power = _fitted(vectors, wanted, say)
        dim = None if reduction is None else reduction.projection.shape[1]
        features = None if features is None else features.reduced(dim, power)
        if reduction is not None:
            network = UnitVectors(first, layer=settings.layer, projector=projector, reduction=reduction)
            kind = "PCA whitening" if power == 1 else f"PCA whitening of power {power:g}" if power else "PCA"
            metadata["reduction"] = f"{kind} to {dim}, fitted on {len(vectors)} images"
    if features is not None:
        metadata[METADATA_KEY] = str(features)
    metadata["identity"] = weights_hash(network)
    calibration = None
    if needs_calibration:
        calibration = decoded(split.calibration, size, "decoding images to calibrate on", reading)
    squares = decoded(split.held_out, size, "decoding images to check on", reading)
    checked_on = _checked_on(squares, split, settings)
    reference = refer(network, squares, split.labels)
    graph = network_graph(network, size)
    return _Job(settings, size, network, graph, reference, checked_on, split.examples, calibration, metadata)


def _size(settings: Settings, described: dict, config: Config, say: Callable[[str], None]) -> int:
    """The side at which images are embedded: asked for, that of the encoder which the run began from, or the views'."""
    began_at = described.get("embed_at")
    if settings.image_size is not None or began_at is None:
        return settings.image_size or config.image_size
    say(f"images at {began_at} px, as in the encoder that the run began from; --image-size chooses another size")
    return began_at


def _features(settings: Settings, described: dict, say: Callable[[str], None]) -> Features | None:
    """The feature description for the export: the user's, or that of the encoder that the run started from."""
    if settings.features is not None:
        return Features.parse(settings.features)
    other = settings.layer is not None or settings.with_projector or settings.reduces
    if other or "features" not in described:
        return None
    features = Features.parse(described["features"])
    say(f"features as in the encoder that the run began from ({features}); --features stage4 exports the last stage")
    return features


@dataclass(frozen=True)
class _Asked:
    """A reduction; None leaves the choice to ``power_for`` and the defaults."""

    dim: int | None
    power: float | None
    at_most: bool = False  # whether fewer axes than ``dim`` are enough


def _reduction(settings: Settings, features: Features | None) -> _Asked | None:
    if features is not None and features.dim is not None:
        if settings.features is None:  # another run's numbers, and perhaps of many more images
            return _Asked(features.dim, None, at_most=True)
        return _Asked(features.dim, features.power)
    if settings.whiten:
        return _Asked(settings.dim, settings.whiten_power)
    return None if settings.dim is None else _Asked(settings.dim, 0.0)


def _fitted(vectors: torch.Tensor, asked: _Asked, say: Callable[[str], None]) -> tuple[Whitening | None, float]:
    """The reduction fitted to ``vectors``, and its power; None if there are too few images."""
    images, dim, power = len(vectors), asked.dim or COMPONENTS, asked.power
    if power is None:
        power = power_for(images)
        if power is not None:
            say(f"whitening of power {power:g}; --whiten-power chooses another")
        elif asked.dim is None or asked.at_most:
            say(f"PCA left out: {images} images are fewer than {FEWEST}; --fit names others")
            return None, 0.0
        else:
            say(f"PCA without whitening: {images} images are fewer than {FEWEST}; --fit names others")
            power = 0.0
    reduction = fit_whitening(vectors, dim, power=power)
    found = reduction.projection.shape[1]
    if found == 0 or (found < dim and asked.dim is not None and not asked.at_most):
        raise UserError(
            f"PCA to {dim} numbers: {images} images of {vectors.shape[1]} features have {found} "
            "principal axes; ask for fewer numbers, or fit to more images with --fit"
        )
    if found < dim:
        say(f"{found} numbers instead of {dim}: {images} images have no more principal axes; --fit names more images")
    return reduction, power


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


def _checked_on(squares: Squares, split: Split, settings: Settings) -> str:
    count = len(squares.files)
    if settings.held_out is not None:
        return f"{count} images of {absolute(settings.held_out).name}"
    if split.examples:
        return f"{count} of the example photos, as the run's own images are not here"
    return f"{count} of the run's images, not used for calibration"


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items()) or "unknown"


def _training(config: Config, described: dict, licence: str | None) -> dict[str, str]:
    """What the file says about its training; for converted weights only what is known."""
    converted = described.get("converted")
    if converted is None:
        return {
            "method": config.method,
            "recipe": config.recipe,
            "trained_at": str(config.image_size),
            "licence": licence or "not stated",
        }
    return {
        "method": converted.get("method", "unknown"),
        "recipe": config.recipe,
        "trained_at": "unknown",
        "converted_from": f"{converted.get('file')} (sha256 {converted.get('sha256')})",
        "licence": licence or converted.get("licence") or "not stated",
    }
