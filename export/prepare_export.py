"""From a run folder to a network that is ready to be written: features, PCA, held-out images, metadata."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime
import torch
from onnx import ModelProto

from simsiam_retrieval.core.paths import absolute
from simsiam_retrieval.core.version import __version__
from simsiam_retrieval.evaluation.extractors import weights_hash
from simsiam_retrieval.images.reading import Reading
from simsiam_retrieval.methods.feature_description import METADATA_KEY, WHOLE, Features
from simsiam_retrieval.methods.pooling import PooledStages
from simsiam_retrieval.training.config import Config
from simsiam_retrieval.training.run_folder import Run, load_backbone

from .check_parity import Reference, refer, torch_vectors
from .export_settings import Settings
from .exported_network import UnitVectors, with_projector
from .fit_reduction import asked_reduction, fitted_reduction
from .graph import network_graph
from .held_out_images import Split, Squares, choose, decoded


@dataclass
class Prepared:
    """A network that is ready to be written in one or several precisions.

    Attributes:
        size: Side in pixels at which images are embedded.
        network: The PyTorch model, with unit vectors as output.
        graph: Its ONNX graph, without preprocessing.
        reference: PyTorch's vectors of the held-out images.
        checked_on: Which images these are, in words.
        examples: Whether the example photos replace the run's own images.
        calibration: Images to calibrate int8 on; None if not needed.
        metadata: Metadata of every file.
    """

    size: int
    network: UnitVectors
    graph: ModelProto
    reference: Reference
    checked_on: str
    examples: bool
    calibration: Squares | None
    metadata: dict[str, str]


def prepare(run: Path, settings: Settings, say: Callable[[str], None], *, needs_calibration: bool) -> Prepared:
    """Load a run's network, choose images, fit PCA, and trace the graph.

    Args:
        run: The run folder.
        settings: The options of the export.
        say: Called with messages about decisions.
        needs_calibration: Whether images for calibration are needed.

    Returns:
        The network and what belongs to it.

    Raises:
        UserError: The run is damaged, or images are missing.
    """
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
    features = _features(settings, described, config, say)
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
    wanted = asked_reduction(settings, features)
    if wanted is not None:
        squares = decoded(split.fitting, size, "decoding images for PCA", reading)
        vectors = torch.from_numpy(torch_vectors(network, squares.pixels))
        reduction, power = fitted_reduction(vectors, wanted, say)
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
    return Prepared(size, network, graph, reference, checked_on, split.examples, calibration, metadata)


def _size(settings: Settings, described: dict, config: Config, say: Callable[[str], None]) -> int:
    """The side at which images are embedded: asked for, that of the run's beginning or recipe, or the views'."""
    began_at = described.get("embed_at")
    if settings.image_size is not None or began_at is None:
        return settings.image_size or config.image_size
    say(f"images at {began_at} px, {_as_in(described)}; --image-size chooses another size")
    return began_at


def _features(settings: Settings, described: dict, config: Config, say: Callable[[str], None]) -> Features | None:
    """The feature description: the user's, or that of the run's recipe or of the encoder that it started from."""
    if settings.features is not None:
        return Features.parse(settings.features)
    other = settings.layer is not None or settings.with_projector or settings.reduces
    if other or "features" not in described:
        return None
    features = Features.parse(described["features"])
    last = "stage3" if config.backbone == "resnet18-3stages" else "stage4"
    say(f"features {_as_in(described)} ({features}); --features {last} exports the last stage")
    return features


def _as_in(described: dict) -> str:
    began = described.get("init") is not None
    return (
        "as in the encoder that the run began from" if began else f"as the recipe {described['config']['recipe']} has"
    )


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


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items()) or "unknown"


def _checked_on(squares: Squares, split: Split, settings: Settings) -> str:
    count = len(squares.files)
    if settings.held_out is not None:
        return f"{count} images of {absolute(settings.held_out).name}"
    if split.examples:
        return f"{count} of the example photos, as the run's own images are not here"
    return f"{count} of the run's images, not used for calibration"
